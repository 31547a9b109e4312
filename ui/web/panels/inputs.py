"""The head of the page: what is asked (an upload, an ECG of the demo, words), and the filters."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.ecg.formats.read import READERS
from ecgkin.retrieval.ecg.kinds import PICTURE_SUFFIXES
from ecgkin.ui.web.shared.query import Options, Query, where_text
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from ecgkin.ui.web.shared.context import Page

# What the file dialog offers: everything that is read, and zips of WFDB records.
_SUFFIXES = dict.fromkeys((*PICTURE_SUFFIXES, *(suffix for reader in READERS for suffix in reader.suffixes), ".zip"))
UPLOADS = [suffix.removeprefix(".") for suffix in _SUFFIXES]
TABLES = (".csv", ".tsv", ".txt")
WFDB = (".hea", ".dat", ".mat")
OLDEST = 110


def ask(page: Page, examples: Path | None) -> tuple[Query | None, Options]:
    """Draw the head of the page.

    Args:
        page: What every panel is given.
        examples: Folder with the demo's held-out ECGs; None without a demo.

    Returns:
        The query, None as long as there is none, and how it is asked.
    """
    import streamlit as st

    word = page.word
    with st.container(horizontal=True, vertical_alignment="center", key="ways"):
        way = st.segmented_control(
            word("query"),
            ["ecg", "words"],
            default="ecg",
            required=True,
            format_func=lambda name: word("by_ecg" if name == "ecg" else "by_words"),
            label_visibility="collapsed",
            key="way",
        )
        query = _by_words(page) if way == "words" else _by_ecg(page, examples)
        options = _options(page)
    return query, options


def _by_words(page: Page) -> Query | None:
    import streamlit as st

    word = page.word
    with (
        st.form("words-form", border=False, width="stretch"),
        st.container(horizontal=True, vertical_alignment="center"),
    ):
        text = st.text_input(
            word("words_label"),
            placeholder=word("words_example"),
            key="words",
            max_chars=10_000,
            label_visibility="collapsed",
        )
        st.form_submit_button(word("search"), type="primary", icon=":material/search:")
    return Query("text", text.strip(), text=text.strip()) if text and text.strip() else None


def _by_ecg(page: Page, examples: Path | None) -> Query | None:
    import streamlit as st

    word = page.word
    at_hand = example_files(examples)
    taken = st.file_uploader(
        word("upload"),
        type=UPLOADS,
        accept_multiple_files=True,
        label_visibility="collapsed",
        key="upload",
    )
    chosen = None
    if at_hand:
        chosen = st.selectbox(
            word("example"),
            at_hand,
            index=None,
            placeholder=word("example"),
            format_func=lambda path: example_name(path, page),
            label_visibility="collapsed",
            width=260,
            key="example",
        )
    # The last one that was touched counts; an upload that is still there gives way to a choice made after it.
    now = ([file.file_id for file in taken], str(chosen))
    before = st.session_state.get("asked", ([], "None"))
    use = st.session_state.get("use", "upload")
    if now[0] != before[0]:
        use = "upload" if now[0] else "example"
    elif now[1] != before[1]:
        use = "example" if chosen is not None else "upload"
    st.session_state["asked"], st.session_state["use"] = now, use
    if use == "example" and chosen is not None:
        return Query("ecg", example_name(chosen, page), ((chosen.name, chosen.read_bytes()),))
    if not taken:
        return None
    files = chosen_files([(file.name, file.getvalue()) for file in taken])
    fs_hz = None
    found = st.session_state.get("found")
    if found is not None and found.error is not None and any(name.lower().endswith(TABLES) for name, _ in files):
        st.session_state["rateless"] = now[0]
    if st.session_state.get("rateless") == now[0]:
        fs_hz = st.number_input(word("fs_hz"), min_value=1.0, max_value=100_000.0, value=None, key="fs_hz")
    return Query("ecg", ", ".join(name for name, _ in files), tuple(files), fs_hz=fs_hz)


def start(page: Page, examples: Path | None) -> None:
    """What is there before a query: what can be done here, and the demo's ECGs to begin with.

    Args:
        page: What every panel is given: language, texts, API, colours.
        examples: Folder of the demo's ECGs; None without a demo.
    """
    import streamlit as st

    word = page.word
    st.html(f'<p class="ek ek-start">{escape(word("start"))}</p>')
    small = sorted(examples.glob("*.webp")) if examples else []
    if not small:
        return
    st.header(word("gallery"), anchor=False)
    with st.container(horizontal=True, key="gallery"):
        for number, path in enumerate(small, 1):
            with st.container(border=True, key=f"sample-{number}"):
                address = f"data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}"
                name = _number(path, page)
                st.html(f'<img class="ek-sample" src="{address}" alt="{escape(name, quote=True)}">')
                with st.container(horizontal=True, gap="small"):
                    for suffix, kind in ((".png", "as_page"), (".csv", "as_record")):
                        st.button(
                            f"{name}, {word(kind)}",
                            key=f"sample-{number}{suffix}",
                            on_click=_choose,
                            args=(path.with_suffix(suffix),),
                        )


def _choose(path: Path) -> None:
    """As if the ECG had been picked from the list."""
    import streamlit as st

    st.session_state["example"] = path


def chosen_files(files: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The files that make up the newest query: all of a WFDB record, else the one that came last.

    >>> [name for name, _ in chosen_files([("a.png", b""), ("r.hea", b""), ("r.dat", b"")])]
    ['r.hea', 'r.dat']
    >>> [name for name, _ in chosen_files([("a.png", b""), ("b.png", b"")])]
    ['b.png']
    """
    last = files[-1][0].lower()
    if last.endswith(WFDB):
        stem = last.rpartition(".")[0]
        return [(name, content) for name, content in files if name.lower().rpartition(".")[0] == stem]
    return files[-1:]


def example_files(folder: Path | None) -> list[Path]:
    """The demo's ECGs, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".png", ".csv")) if folder else []


def example_name(path: Path, page: Page) -> str:
    """A file of the demo for people: a number and a kind.

    Args:
        path: "ECG_3.png", "ECG_3.csv".
        page: What every panel is given: language, texts, API, colours.

    Returns:
        The name.
    """
    kind = page.word("as_page" if path.suffix == ".png" else "as_record")
    return f"{_number(path, page)} ({kind})"


def _number(path: Path, page: Page) -> str:
    """ "ECG_3.png" in the page's language."""
    return path.stem.replace("ECG", page.word("ecg")).replace("_", " ")


def _options(page: Page) -> Options:
    import streamlit as st

    word, base = page.word, page.info.case_base
    most = int(page.info.limits.get("k", 100))
    on = st.session_state.get("n_filters", 0)
    with st.popover(word("filters_on", n=on) if on else word("filters"), icon=":material/tune:"):
        ages = st.slider(word("age"), 0, OLDEST, (0, OLDEST), key="ages")
        sex = st.segmented_control(
            word("sex"), ["F", "M"], format_func=lambda s: word("female" if s == "F" else "male"), key="sex"
        )
        labels = [code for code, _ in sorted(base.get("labels", {}).items(), key=lambda item: -item[1])]
        codes = st.multiselect(
            word("statement"), labels, format_func=lambda code: f"{name_of(code, page.lang)} ({code})", key="codes"
        )
        names = sorted(base.get("sources", {}))
        sources = st.multiselect(word("source"), names, key="sources") if len(names) > 1 else []
        previous = st.text_input(word("previous"), help=word("previous_help"), key="previous", max_chars=500)
        k = st.slider(word("how_many"), 1, min(50, most), min(10, most), key="k")
    narrowed = None if ages == (0, OLDEST) else ages
    previous = (previous or "").strip()
    n_filters = (narrowed is not None) + (sex is not None) + len(codes) + len(sources) + bool(previous)
    if n_filters != on:
        st.session_state["n_filters"] = n_filters
        st.rerun()
    return Options(k, where_text(narrowed, sex, codes, sources), previous=previous)
