// Small things that Streamlit has no means for: cards that come into view, focus that is kept, text that is kept.
if (!window.ecgkinPage) {
  window.ecgkinPage = true;
  const closest = (event, what) => (event.target.closest ? event.target.closest(what) : null);
  const cardOf = (event) => {
    const link = closest(event, "a.ek-cite");
    const head = link && document.getElementById((link.getAttribute("href") || "").slice(1));
    return head ? head.closest('[class*="st-key-card-"]') : null;
  };
  // A citation that is pointed at, or reached by keyboard, brings its card into view in the strip.
  const show = (event) => {
    const card = cardOf(event), strip = card && card.closest(".st-key-cards");
    if (!strip) return;
    const a = card.getBoundingClientRect(), b = strip.getBoundingClientRect();
    if (a.left < b.left) strip.scrollBy({ left: a.left - b.left - 12 });
    else if (a.right > b.right) strip.scrollBy({ left: a.right - b.right + 12 });
  };
  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  // Waits for what the server's next answer brings.
  const when = (selector, act, tries = 80) => {
    const found = document.querySelector(selector);
    if (found) act(found);
    else if (tries > 0) setTimeout(when, 100, selector, act, tries - 1);
  };
  let left = ""; // the card that was left for a comparison
  const back = () => {
    if (!left) return;
    const name = left;
    when(`${name} button`, (button) => { button.focus({ preventScroll: true }); button.scrollIntoView({ block: "center", inline: "nearest" }); });
  };
  document.addEventListener("click", (event) => {
    const main = document.querySelector('[data-testid="stMain"]');
    // What comes of an ECG that was chosen from below the fold begins at the top.
    if (closest(event, ".st-key-gallery button") && main) main.scrollTo({ top: 0 });
    const compare = closest(event, '[class*="st-key-compare-"]');
    const key = compare && [...compare.classList].find((name) => /^st-key-compare-\d/.test(name));
    if (key) {
      left = `.${CSS.escape(key)}`;
      if (main) main.scrollTo({ top: 0 });
      when(".st-key-back button", (button) => button.focus({ preventScroll: true }));
    }
    if (closest(event, ".st-key-back")) back();
    // Cases in another order are read from the first on.
    if (closest(event, ".st-key-again button, .st-key-original button, .st-key-concept button")) fromFirst();
    const copy = closest(event, "button.ek-copy");
    if (copy && navigator.clipboard) navigator.clipboard.writeText(location.href).then(() => { copy.textContent = copy.dataset.done; });
    const skip = closest(event, "a.ek-skip");
    if (skip) {
      event.preventDefault();
      const first = document.querySelector(".st-key-cards button");
      if (first) { first.focus({ preventScroll: true }); first.closest('[class*="st-key-card-"]').scrollIntoView({ block: "center" }); }
    }
    const card = cardOf(event);
    if (!card) return;
    event.preventDefault();
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
    const first = card.querySelector("button");
    if (first) first.focus({ preventScroll: true });
  });
  // A browser follows the card that it has snapped to wherever that goes: the row is held until the answer is there.
  let holding = 0, latest = 0;
  const hold = () => {
    const strip = document.querySelector(".st-key-cards");
    if (strip && strip.scrollLeft) strip.scrollTo({ left: 0, behavior: "instant" });
    const now = performance.now(), works = document.querySelector('.stApp[data-test-script-state="running"]');
    if (holding && works && now < latest) holding = Math.max(holding, now + 1500);
    if (now < holding) setTimeout(hold, 100);
  };
  const fromFirst = () => { holding = performance.now() + 3000; latest = holding + 60000; hold(); };
  for (const name of ["pointerdown", "wheel", "keydown"]) document.addEventListener(name, (event) => { if (event.isTrusted) holding = 0; }, { capture: true, passive: true });
  addEventListener("popstate", () => when(".st-key-cards button", back));
  // A frame that was drawn on the ECG is written into its field, as if it had been typed.
  addEventListener("message", (event) => {
    const text = event.data && event.data.ecgkinRegion;
    const viewer = document.querySelector(".st-key-viewer-query iframe"), field = document.querySelector(".st-key-region input");
    if (typeof text !== "string" || !field || !viewer || event.source !== viewer.contentWindow) return;
    fromFirst();
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, text);
    field.dispatchEvent(new Event("input", { bubbles: true }));
    const key = { key: "Enter", code: "Enter", keyCode: 13, bubbles: true, cancelable: true };
    setTimeout(() => field.dispatchEvent(new KeyboardEvent("keydown", key)), 50);
  });
  // What Streamlit leaves to assistive technology: a place for files is a group, not decoration that has a name.
  const named = () => { for (const zone of document.querySelectorAll('[data-testid="stFileUploaderDropzone"][role="presentation"]')) zone.setAttribute("role", "group"); };
  new MutationObserver(named).observe(document.body, { childList: true, subtree: true });
  named();
  // What is typed into the report is kept a moment later, as Ctrl+Enter keeps it: a reload does not lose it.
  const due = new WeakMap();
  document.addEventListener("input", (event) => {
    const field = closest(event, ".st-key-edit-report textarea, .st-key-edit-report input[type=text]");
    if (!field || field.getAttribute("role") === "combobox" || closest(event, '[data-testid="stMultiSelect"]')) return;
    clearTimeout(due.get(field));
    const key = { key: "Enter", code: "Enter", keyCode: 13, ctrlKey: true, bubbles: true, cancelable: true };
    due.set(field, setTimeout(() => field.dispatchEvent(new KeyboardEvent("keydown", key)), 1200));
  });
}
