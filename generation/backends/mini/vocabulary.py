"""Words of the mini generator: BPE pieces of reports and questions, one token a statement, and a few marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.generation.backends.mini.wording import MiniPrompt, findings_line
from ecgkin.generation.types.draft import Language
from ecgkin.retrieval.ecg.statements.catalogue import CODES
from ecgkin.retrieval.errors import WeightsMissingError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
PAD, BEGIN, END, CASE, VOTE, WORDS, REPORT, QUESTION, ANSWER, FINDINGS, ENGLISH, GERMAN = MARKS = (
    "<pad>", "<s>", "</s>", "<case>", "<vote>", "<words>", "<report>", "<question>", "<answer>", "<findings>", "<en>",
    "<de>",
)  # fmt: skip
# Probabilities of the vote in tenths.
TENTHS = tuple(f"<p{i}>" for i in range(10))
SPECIALS = (*MARKS, *TENTHS, *(f"<{code}>" for code in CODES))
MAX_REPORT = 96  # pieces of an answer; PTB-XL's longest report has 47 words
MAX_CASE_REPORT = 24  # pieces of a neighbour's report: three in four fit
MAX_QUESTION = 64
MAX_CASES = 8
MAX_VOTE = 8


def train_vocabulary(texts: Iterable[str], folder: Path, size: int) -> Vocabulary:
    """Learn BPE pieces from texts and write `tokenizer.json`.

    Args:
        texts: Reports and questions.
        folder: Made where it is missing.
        size: Tokens in all, marks and statements included.

    Returns:
        The vocabulary, as it is stored.
    """
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE(unk_token=None, byte_fallback=False))
    # Lower case: archives mix "Sinusrhythmus", "SINUSRHYTHMUS" and "sinusrhythmus", and every case form costs pieces.
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = BpeTrainer(vocab_size=size, min_frequency=2, special_tokens=list(SPECIALS), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / FILE))
    return Vocabulary(tokenizer)


class Vocabulary:
    """Prompts and answers to token numbers and back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size()
        # The marks were given to the trainer first, so they have the first numbers.
        self._id: dict[str, int] = {token: tokenizer.token_to_id(token) or 0 for token in SPECIALS}
        self.code_ids = tuple(self._id[f"<{code}>"] for code in CODES)
        self._code_of = dict(zip(self.code_ids, CODES, strict=True))

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Raises WeightsMissingError where the folder holds none."""
        from tokenizers import Tokenizer

        path = folder / FILE
        if not path.is_file():
            raise WeightsMissingError(f"{path} is missing", hint="train the mini generator, or reinstall ecgkin")
        return cls(Tokenizer.from_file(str(path)))

    @property
    def pad(self) -> int:
        """Token of padding."""
        return self._id[PAD]

    @property
    def end(self) -> int:
        """Token that ends an answer."""
        return self._id[END]

    def pieces(self, text: str, limit: int) -> list[int]:
        """Pieces of a text without any mark, at most `limit`.

        Args:
            text: Words.
            limit: Most pieces.

        Returns:
            Their numbers.
        """
        # What others wrote can never become a mark: "<" separates nothing in an ECG report.
        return list(self._tokenizer.encode(text.replace("<", " "), add_special_tokens=False).ids[:limit])

    def prompt_ids(self, prompt: MiniPrompt, max_cases: int = MAX_CASES) -> list[int]:
        """Tokens between the picture and the answer.

        Args:
            prompt: What is asked, with cases and vote.
            max_cases: Cases that are shown at most; the nearest come first.

        Returns:
            Token numbers.
        """
        out = [self._id[BEGIN]]
        for case in prompt.cases[:max_cases]:
            out += [self._id[CASE], *(self._id[f"<{code}>"] for code in case.codes)]
            if case.report:
                out += [self._id[WORDS], *self.pieces(case.report, MAX_CASE_REPORT)]
        if prompt.vote:
            out.append(self._id[VOTE])
            for code, p in prompt.vote[:MAX_VOTE]:
                out += [self._id[f"<{code}>"], self._id[TENTHS[min(9, int(10 * p))]]]
        out.append(self._id[REPORT if prompt.task == "report" else QUESTION])
        out.append(self._id[GERMAN if prompt.language == "de" else ENGLISH])
        if prompt.question:
            out += self.pieces(prompt.question, MAX_QUESTION)
        out.append(self._id[ANSWER])
        return out

    def answer_ids(self, codes: Sequence[str] | None, text: str) -> list[int]:
        """Tokens of an answer: the findings first, so that the words follow from them, then the words.

        Args:
            codes: Statements; None for an answer without findings.
            text: The words.

        Returns:
            Token numbers, the end mark included.
        """
        out: list[int] = []
        if codes is not None:
            out += [self._id[FINDINGS], *(self._id[f"<{code}>"] for code in CODES if code in codes)]
        return [*out, self._id[WORDS], *self.pieces(text, MAX_REPORT), self._id[END]]

    def codes(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Statements among the tokens of an answer."""
        return tuple(dict.fromkeys(self._code_of[i] for i in ids if i in self._code_of))

    def words(self, ids: Sequence[int]) -> str:
        """The words of an answer, without its findings."""
        return str(self._tokenizer.decode([i for i in ids if i >= len(SPECIALS)], skip_special_tokens=True)).strip()

    def text(self, ids: Sequence[int], language: Language) -> str:
        """An answer as people read it: the words, and the findings on a line of their own where it gives some.

        Args:
            ids: Token numbers of an answer.
            language: Of the line of findings.

        Returns:
            Text; empty where the answer holds neither.
        """
        words = self.words(ids)
        if self._id[FINDINGS] not in ids:
            return words
        return f"{words}\n{findings_line(self.codes(ids), language)}".strip()
