// A citation that is pointed at, or reached by keyboard, brings its card into view in the list beside the draft.
if (!window.ecgkinCitations) {
  window.ecgkinCitations = true;
  const find = (event) => {
    const link = event.target.closest ? event.target.closest("a.ek-cite") : null;
    const head = link && document.getElementById((link.getAttribute("href") || "").slice(1));
    return head ? head.closest('[class*="st-key-card-"]') : null;
  };
  const show = (event) => {
    const card = find(event), list = card && card.closest(".st-key-cards");
    // On a tablet the list is not beside the draft: the page itself should not jump under the pointer.
    if (!list || list.scrollHeight <= list.clientHeight) return;
    const a = card.getBoundingClientRect(), b = list.getBoundingClientRect();
    if (a.top < b.top) list.scrollBy({ top: a.top - b.top - 12 });
    else if (a.bottom > b.bottom) list.scrollBy({ top: a.bottom - b.bottom + 12 });
  };
  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("click", (event) => {
    // What comes of an ECG that was chosen from below the fold begins at the top.
    const main = event.target.closest(".st-key-gallery button") && document.querySelector('[data-testid="stMain"]');
    if (main) main.scrollTo({ top: 0 });
    const card = find(event);
    if (!card) return;
    event.preventDefault();
    card.scrollIntoView({ block: "nearest" });
    const first = card.querySelector("button");
    if (first) first.focus({ preventScroll: true });
  });
}
