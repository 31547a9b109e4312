"""ECGBench: its files, answer models through the door of drafts, answer files in PULSE's layout.

The nine sets are read as published (parquet or JSON with `conversations`); prompts come from the files. Where they are
not at hand, `ecgbench_rebuild` makes their PTB-XL parts. `ecgbench_score` judges the answers.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.generation.prompt.grounding import without_marks
from ecgkin.generation.research.ecgbench import rules, strict
from ecgkin.retrieval.errors import EcgkinError, InputError, why

if TYPE_CHECKING:
    from PIL.Image import Image

    from ecgkin.generation.backends.base import TextBackend
    from ecgkin.generation.drafter import Drafter

REPORT, ARENA = "ptb-test-report", "arena"
SPLITS: tuple[str, ...] = (*rules.ORDER, REPORT, ARENA)
ANSWERS = "step-final.jsonl"
MAX_NEW_TOKENS = 1024
_TOKEN = "<image>"


@dataclass(frozen=True)
class BenchRow:
    """One row.

    Attributes:
        row_id: As in the file.
        image_path: As in the file.
        prompts: Turns of the person, without the image token: one, or two in the Arena.
        golds: Answers to them; ECG-QA's is a list of options.
        image: Opens the picture.
    """

    row_id: str
    image_path: str
    prompts: tuple[str, ...]
    golds: tuple[Any, ...]
    image: Callable[[], Image] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What a model said to a row: one text a turn, and probabilities of the task's labels where it has some."""

    texts: tuple[str, ...]
    probabilities: tuple[float, ...] | None = None


Answerer = Callable[[str, BenchRow], Answer]


def load_split(path: Path, images: Path | None = None) -> list[BenchRow]:
    """Rows of one set.

    Args:
        path: A parquet file, a folder of them, or a JSON list.
        images: Folder of the pictures of a JSON list; None takes `images` beside it.

    Returns:
        The rows, in the order of the file.

    Raises:
        InputError: It cannot be read, or a row lacks a part.
    """
    try:
        if path.is_dir() or path.suffix == ".parquet":
            import pyarrow.parquet as parquet

            raw = parquet.read_table(path).to_pylist()
        else:
            raw = json.loads(path.read_text(encoding="utf-8"))
    except ImportError as error:
        raise InputError(f"{path} is parquet, and pyarrow is not installed", hint="pip install pyarrow") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an ECGBench set: {why(error)}") from error
    if not isinstance(raw, list) or not raw:
        raise InputError(f"{path} holds no rows (expected a list of objects with id, image and conversations)")
    return [_row(item, images or path.parent / "images", f"{path} row {i}") for i, item in enumerate(raw)]


def _row(item: Mapping[str, Any], images: Path, where: str) -> BenchRow:
    from PIL import Image as pictures

    try:
        turns = item.get("conversations") or item["conversation"]
        if "question" in turns[0]:
            asked, gold = [t["question"] for t in turns], [t["answer"] for t in turns]
        else:
            asked, gold = [turns[0]["value"]], [turns[1]["value"]]
        picture = item.get("image")
        name = str(item.get("image_path") or (picture if isinstance(picture, str) else ""))
        row_id = str(item["id"])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"{where} lacks {error} (expected id, image and conversations of two turns)") from error
    data = picture.get("bytes") if isinstance(picture, Mapping) else None

    def opened() -> Image:
        return pictures.open(io.BytesIO(data) if data else images / name).convert("RGB")

    # ECG-QA's parquet types every value as a list; a list of single characters is a string that was taken apart.
    prompts = tuple(_joined(text).replace(_TOKEN + "\n", "").replace(_TOKEN, "").strip("\n") for text in asked)
    return BenchRow(row_id, name, prompts, tuple(_gold(g) for g in gold), opened)


def _joined(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def _gold(value: Any) -> Any:
    if isinstance(value, list) and len(value) > 1 and all(len(str(v)) == 1 for v in value):
        return ["".join(value)]
    return value


def backend_answerer(backend: TextBackend, model_id: str = "") -> Answerer:
    """The model alone with the published prompt, greedy, as PULSE was measured.

    Args:
        backend: The model.
        model_id: Name under which its answers are kept; "" takes the backend's own.

    Returns:
        Asks the model one row at a time.
    """
    from ecgkin.generation.backends.base import Request

    def answer(split: str, row: BenchRow) -> Answer:
        texts: list[str] = []
        for prompt in row.prompts:
            # The Arena's second turn is sent with the first answer in the history; back ends here take one turn.
            before = f"{row.prompts[0]}\n{texts[0]}\n" if texts else ""
            texts.append(backend.generate(Request(before + prompt, row.image(), max_new_tokens=MAX_NEW_TOKENS)).text)
        return Answer(tuple(texts))

    return answer


def drafter_answerer(drafter: Drafter, k: int = 3, as_question: bool = False) -> Answerer:
    """A drafter with its case base: consensus, or a model with retrieved cases.

    Args:
        drafter: Over a case base.
        k: Cases that a model is shown.
        as_question: Ask the row's own prompt (for models that answer questions); otherwise a report is drafted and
            its statements are put into the codes of the task.

    Returns:
        Asks the drafter one row at a time.
    """

    def answer(split: str, row: BenchRow) -> Answer:
        if as_question:
            drafts = [drafter.draft(row.image(), prompt, k=k).draft for prompt in row.prompts]
            return Answer(tuple(without_marks(draft.text) for draft in drafts))
        draft = drafter.draft(row.image(), k=k).draft
        if split not in rules.LABELS:
            said = [without_marks(s.text) for s in draft.sentences] or [without_marks(draft.text)]
            return Answer((" ".join(said),) * len(row.prompts))
        labels = rules.LABELS[split]
        of = {label: _members(split, label) for label in labels}
        stated = set(draft.codes())
        text = "; ".join(label for label in labels if stated & of[label])
        chances = draft.probabilities
        each = tuple(max([chances.get(label, 0.0), *(chances.get(c, 0.0) for c in of[label])]) for label in labels)
        return Answer((text,), each if chances else None)

    return answer


def _members(split: str, label: str) -> set[str]:
    """Statements that mean a label of a task."""
    from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS

    if split == "ptb-test":
        return {s.code for s in STATEMENTS if s.superclass == label}
    return set(strict.STATEMENTS_OF[split].get(label, ()))


def answer_split(
    split: str,
    rows: Sequence[BenchRow],
    answerer: Answerer,
    folder: Path,
    model_id: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Answer all rows into FOLDER/MODEL/SPLIT/step-final.jsonl; rows that are there already are not asked again.

    A row whose picture or draft fails gets an empty answer, which counts.

    Args:
        split: Name of the set.
        rows: Its rows.
        answerer: Who answers.
        folder: Where the answers go.
        model_id: Name of the model.
        progress: Called with (what, done, total).

    Returns:
        The file of answers.
    """
    path = folder / "".join(c if c.isalnum() or c in "-_." else "-" for c in model_id) / split / ANSWERS
    path.parent.mkdir(parents=True, exist_ok=True)
    done = set(read_answers(path)) if path.is_file() else set()
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        # A line that a kill cut short must not swallow the next one.
        with path.open("a", encoding="utf-8") as stream:
            stream.write("\n")
    for i, row in enumerate(rows):
        if row.row_id not in done:
            error = ""
            try:
                said = answerer(split, row)
            except EcgkinError as failure:
                said, error = Answer(("",) * len(row.prompts)), type(failure).__name__
            short = blake2b(f"{model_id}|{row.row_id}".encode(), digest_size=8).hexdigest()
            line: dict[str, Any] = {
                "question_id": row.row_id, "prompt": row.prompts[0], "text": said.texts[0], "answer_id": short,
                "model_id": model_id, "metadata": {"error": error} if error else {},
            }  # fmt: skip
            if len(said.texts) > 1:
                pairs = zip(row.prompts, said.texts, strict=True)
                line["predict_convs"] = [{"question": q, "answer": a} for q, a in pairs]
            if said.probabilities is not None:
                line["probabilities"] = list(said.probabilities)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        if progress is not None:
            progress(split, i + 1, len(rows))
    return path


def read_answers(path: Path) -> dict[str, Answer]:
    """Answers by row, in the order of the file; both published layouts are understood, a cut last line is left out.

    Raises:
        InputError: A line has neither layout.
    """
    out: dict[str, Answer] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            item = json.loads(line)
        except ValueError:
            continue
        row_id = item.get("question_id", item.get("id"))
        said = item.get("text", item.get("response"))
        if item.get("predict_convs"):
            said = [turn["answer"] for turn in item["predict_convs"]]
        elif isinstance(said, list):
            said = [turn["response"] if isinstance(turn, Mapping) else turn for turn in said]
        if row_id is None or said is None:
            raise InputError(f"{path} line {number} has no question_id with text and no id with response")
        chances = item.get("probabilities")
        texts = tuple(map(str, said)) if isinstance(said, list) else (str(said),)
        out[str(row_id)] = Answer(texts, tuple(chances) if chances else None)
    return out
