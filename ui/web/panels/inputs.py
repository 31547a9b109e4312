"""The head of the page: what is asked (an upload, an ECG of the demo, words), and the filters."""

from __future__ import annotations

import base64
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.ui.web.panels.query_panel import read_ahead
from ecgkin.ui.web.shared import desk
from ecgkin.ui.web.shared.query import Options, Query, where_text
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Work

FIELDS = ("ages", "sex", "codes", "sources", "previous", "leave-out", "k")
# Larger files are said to be too large by the server, in words that both languages have.
LARGEST_MB = 512
RATES = (100, 250, 500, 1000)
WFDB = (".hea", ".dat", ".mat")
OLDEST = 110
FEW = 4


def ask(page: Page, examples: Path | None) -> tuple[Work | None, Options]:
    """Draw the head of the page.

    What the address names is what is shown; a new file, choice or line of words puts itself there.

    Args:
        page: What every panel is given.
        examples: Folder with the demo's held-out ECGs; None without a demo.

    Returns:
        The question, None as long as there is none, and how it is asked.
    """
    import streamlit as st

    word, state = page.word, st.session_state
    most = min(50, int(page.info.limits.get("k", 100)))
    for name, value in (("way", "ecg"), ("ages", (0, OLDEST)), ("k", min(10, most))):
        state.setdefault(name, value)
    _arrived()
    with st.container(horizontal=True, vertical_alignment="center", key="ways"):
        way = st.segmented_control(
            word("query"),
            ["ecg", "words"],
            required=True,
            format_func=lambda name: word("by_ecg" if name == "ecg" else "by_words"),
            label_visibility="collapsed",
            key="way",
        )
        if way == "words":
            _by_words(page)
        else:
            _by_ecg(page, examples)
        options = _options(page, most)
    work = desk.current()
    if work is not None:
        work.fields = {name: st.session_state[name] for name in FIELDS if name in st.session_state}
    elif st.query_params.get(desk.QUESTION):
        st.info(word("no_longer_kept"), icon=":material/history:")
    return work, options


def _arrived() -> None:
    """Where the address has changed by itself (Back, a reload, a link), the fields follow it."""
    import streamlit as st

    state, here = st.session_state, desk.place()
    if state.get("at") == here:
        return
    came = "at" in state
    state["at"] = here
    work = desk.current()
    if came:
        state["example"] = state["chosen"] = None
        if work is None or work.work_id not in state.get("opened", {}).values():
            # An upload that still stands in its field belongs to another question.
            state["uploads"] = state.get("uploads", 0) + 1
            state.pop("taken", None)
    if work is None:
        return
    state["which"] = work.query.name
    for name, value in work.fields.items():
        state[name] = value
    state["way"] = "words" if work.query.kind == "text" else "ecg"
    if work.query.kind == "text":
        state["words"] = work.query.text


def _by_words(page: Page) -> None:
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
        pressed = st.form_submit_button(word("search"), type="primary", icon=":material/search:")
    text = (text or "").strip()
    now = desk.current()
    if pressed and text and (now is None or now.query.text != text):
        desk.opened(desk.shelf().put(Query("text", text, text=text)))


def _by_ecg(page: Page, examples: Path | None) -> None:
    import streamlit as st

    word, state = page.word, st.session_state
    st.html(f'<button type="button" class="ek-camera">{escape(word("camera"))}</button>', width="content")
    taken = st.file_uploader(
        word("upload"),
        accept_multiple_files=True,
        label_visibility="collapsed",
        key=f"upload-{state.get('uploads', 0)}",
        max_upload_size=LARGEST_MB,
    )
    at_hand = example_files(examples)
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
    _take(page, [(file.file_id, file.name, file.getvalue()) for file in taken])
    if chosen != state.get("chosen"):
        state["chosen"] = chosen
        if chosen is not None:
            _open(Query("ecg", example_name(chosen, page), ((chosen.name, chosen.read_bytes()),)))


def _take(page: Page, files: list[tuple[str, str, bytes]]) -> None:
    """Open what was dropped: one ECG at once; of several the first, with a choice beside it."""
    import streamlit as st

    state, word = st.session_state, page.word
    ids = [file_id for file_id, _, _ in files]
    before: list[str] = state.get("taken", [])
    sets = desk.groups([(name, content) for _, name, content in files], WFDB)
    queries = {
        ", ".join(name for name, _ in one): Query("ecg", ", ".join(n for n, _ in one), tuple(one)) for one in sets
    }
    names = list(queries)
    if ids != before:
        state["taken"] = ids
        state["together"] = [_work(query).work_id for query in queries.values()]
        fresh = {name for file_id, name, _ in files if file_id not in before}
        new = [name for name in names if fresh & {part for part, _ in queries[name].files}]
        now = desk.current()
        if new:
            state["which"] = new[0]
            _open(queries[state["which"]])
        elif now is not None and now.query.name not in names and now.query.kind == "ecg":
            # What was on the page has been taken away.
            _open(queries[names[-1]] if names else None)
    # Of many there is the list alone.
    if 1 < len(names) <= FEW:
        now = desk.current()
        if now is not None and now.query.name in names:
            state["which"] = now.query.name
        elif state.get("which") not in names:
            state["which"] = names[-1]
        st.segmented_control(
            word("which", n=len(names)),
            names,
            required=True,
            label_visibility="collapsed",
            key="which",
            on_change=lambda: _open(queries[state["which"]]),
        )


def _open(query: Query | None) -> None:
    """Put a query into the address."""
    if query is None:
        desk.opened(None)
        return
    work = _work(query)
    read_ahead(work)
    desk.opened(work)


def _work(query: Query) -> Work:
    """The same files are the same question for as long as a session lasts."""
    import streamlit as st

    ids: dict[str, str] = st.session_state.setdefault("opened", {})
    work = desk.shelf().get(ids.get(query.digest, ""))
    if work is None:
        work = desk.shelf().put(query)
        ids[query.digest] = work.work_id
    return work


def ask_rate(page: Page, work: Work) -> None:
    """Ask for the samples a second of a table that does not say them, and search with them.

    Args:
        page: What every panel is given.
        work: The question that could not be answered without.
    """
    import streamlit as st

    word = page.word
    with st.container(border=True, key="rate"):
        st.html(f'<p class="ek"><b>{escape(word("rate_missing", file=work.query.name))}</b></p>')
        with st.form("rate-form", border=False):
            usual = st.pills(word("fs_hz"), RATES, format_func=lambda rate: f"{rate} Hz", key="rate-usual")
            other = st.number_input(
                word("fs_other"), min_value=1.0, max_value=100_000.0, value=None, key="rate-other", width=220
            )
            rate = other or usual
            if st.form_submit_button(word("search"), type="primary", icon=":material/search:") and rate:
                work.query, work.found = replace(work.query, fs_hz=float(rate)), None
                work.other.clear()
                st.rerun()


def start(page: Page, examples: Path | None) -> None:
    """What is there before a query: what can be done here, and the demo's ECGs to begin with.

    Args:
        page: What every panel is given: language, texts, API, colours.
        examples: Folder of the demo's ECGs; None without a demo.
    """
    import streamlit as st

    st.html(f'<p class="ek ek-start">{escape(page.word("start"))}</p>')
    small = sorted(examples.glob("*.webp")) if examples else []
    if small:
        _gallery(page, small)


def _gallery(page: Page, small: list[Path]) -> None:
    """The demo's ECGs as pictures; each can be asked with as a page and as a recording."""
    import streamlit as st

    word = page.word
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


def _options(page: Page, most: int) -> Options:
    import streamlit as st

    word, base, state = page.word, page.info.case_base, st.session_state
    on = st.session_state.get("n_filters", 0)
    with st.popover(word("filters_on", n=on) if on else word("filters"), icon=":material/tune:"):
        # Two values, as the state has them.
        ages: Any = st.slider(word("age"), 0, OLDEST, value=state["ages"], key="ages")
        sex = st.segmented_control(
            word("sex"), ["F", "M"], format_func=lambda s: word("female" if s == "F" else "male"),
            default=state.get("sex"), key="sex",
        )  # fmt: skip
        labels = [code for code, _ in sorted(base.get("labels", {}).items(), key=lambda item: -item[1])]
        codes = st.multiselect(
            word("statement"), labels, format_func=lambda code: f"{name_of(code, page.lang)} ({code})",
            default=state.get("codes"), key="codes",
        )  # fmt: skip
        names = sorted(base.get("sources", {}))
        sources = st.multiselect(word("source"), names, state.get("sources"), key="sources") if len(names) > 1 else []
        previous = st.text_input(
            word("previous"), state.get("previous", ""), help=word("previous_help"), key="previous", max_chars=500
        )
        leave_out = st.text_input(
            word("leave_out"), state.get("leave-out", ""), help=word("leave_out_help"), key="leave-out", max_chars=500
        )
        k = st.slider(word("how_many"), 1, most, value=state["k"], key="k")
    narrowed = None if ages == (0, OLDEST) else ages
    previous, leave_out = (previous or "").strip(), (leave_out or "").strip()
    n_filters = (narrowed is not None) + (sex is not None) + len(codes) + len(sources) + bool(previous)
    n_filters += bool(leave_out)
    if n_filters != on:
        st.session_state["n_filters"] = n_filters
        st.rerun()
    return Options(k, where_text(narrowed, sex, codes, sources), previous=previous, leave_out=leave_out)
