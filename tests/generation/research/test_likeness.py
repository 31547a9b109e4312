"""BERTScore against its own definition, with a tiny model made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecgkin.generation.backends.pulse.build import import_transformers
from ecgkin.generation.research.drafts.scores import bert_scores
from ecgkin.retrieval.errors import ModelError

WORDS = "sinus rhythm atrial fibrillation normal ecg left bundle branch block".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer with random weights and ten words."""
    torch = pytest.importorskip("torch")
    transformers = import_transformers()
    path = tmp_path_factory.mktemp("bert")
    (path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    transformers.BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    torch.manual_seed(0)
    shape = transformers.BertConfig(
        vocab_size=5 + len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(shape).save_pretrained(path)
    return path


def test_equal_texts_score_one_and_order_matters_less_than_words(folder: Path) -> None:
    drafts = ["sinus rhythm", "normal ecg sinus rhythm", "atrial fibrillation", "", "sinus rhythm"]
    reports = ["sinus rhythm", "sinus rhythm normal ecg", "left bundle branch block", "normal ecg", " "]
    found = bert_scores(drafts, reports, folder)
    assert found[0] == pytest.approx(1.0, abs=1e-5) and np.isnan(found[3:]).all()
    assert found[0] > found[1] > found[2]
    assert bert_scores(reports[:3], drafts[:3], folder) == pytest.approx(found[:3], abs=1e-6)  # F is symmetric
    alone = [bert_scores([d], [r], folder)[0] for d, r in zip(drafts[:3], reports[:3], strict=True)]
    assert alone == pytest.approx(found[:3], abs=1e-5)  # padding of a batch changes nothing


def test_what_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        bert_scores(["a"], ["a"], tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no model that transformers reads"):
        bert_scores(["a"], ["a"], tmp_path)
    with pytest.raises(ModelError, match="do not pair up"):
        bert_scores(["a"], [], folder)
