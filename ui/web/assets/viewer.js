// The viewer of ECG pages: zoom, pan and calipers on one page, two pages at one scale, or two recordings overlaid.
// DATA is set before this runs. Pages are shown as <img>, so nothing inside them can run.
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const T = DATA.texts, MM_PER_S = 25, MM_PER_MV = 10;
const SPEEDS = [12.5, 25, 50, 100], GAINS = [2.5, 5, 10, 20];
if (DATA.dark) document.documentElement.classList.add("dark");
const el = (name, attrs = {}, text) => {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
};
const sv = (name, attrs = {}, text) => {
  const e = document.createElementNS(SVG, name);
  for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
};

let measuring = false, framing = false;
const bar = el("div", { class: "bar", role: "toolbar", "aria-label": "ECG" });
const panes = el("div", { class: "panes" });
const main = el("main", { "aria-label": "ECG" });
main.append(bar, panes);
document.body.append(main);
const button = (label, text, press) => {
  const b = el("button", { type: "button", title: label, "aria-label": label }, text);
  b.addEventListener("click", press);
  bar.append(b);
  return b;
};
const all = [];
button(T.zoom_in, "+", () => zoomAll(1.3));
button(T.zoom_out, "\u2212", () => zoomAll(1 / 1.3));
button(T.fit, T.fit, () => fitAll());
const cal = button(T.calipers, T.calipers, () => use(!measuring, false));
// A frame on a lead: cases that are alike there come first. Only where it is known which lead is where.
const frame = DATA.pages.some((p) => p.areas && p.areas.length) && DATA.pages.length === 1 && parent !== window
  ? button(T.region, T.region, () => use(false, !framing)) : null;
function use(calipers, region) {
  [measuring, framing] = [calipers, region];
  cal.setAttribute("aria-pressed", measuring);
  if (frame) frame.setAttribute("aria-pressed", framing);
  hint.textContent = measuring ? T.hint_calipers : framing ? T.hint_region : T.hint;
  panes.classList.toggle("measuring", measuring || framing);
  for (const p of all) { p.box.classList.toggle("measuring", measuring || framing); p.mark = null; p.draw(); }
}
const hint = el("span", { class: "hint" }, T.hint);
cal.setAttribute("aria-pressed", "false");
if (frame) frame.setAttribute("aria-pressed", "false");

// What a frame (two corners, mm of the sheet) is about: the lead that it covers most of, and the seconds.
function framed(page, [x1, y1, x2, y2]) {
  const [left, right, top, bottom] = [Math.min(x1, x2), Math.max(x1, x2), Math.min(y1, y2), Math.max(y1, y2)];
  let best = null, most = 0;
  for (const a of page.areas) {
    const wide = Math.min(right, a.x + a.width) - Math.max(left, a.x), high = Math.min(bottom, a.y + a.height) - Math.max(top, a.y);
    if (wide > 0 && high > 0 && wide * high > most) [best, most] = [a, wide * high];
  }
  if (!best) return "";
  const at = (x) => best.start_s + Math.min(1, Math.max(0, (x - best.x) / best.width)) * best.length_s;
  return `${best.lead} ${at(left).toFixed(2)}-${at(right).toFixed(2)}`;
}

// Speed and gain of a page where nothing on it tells them: assumed, and open to who can read the page.
function scaleChoices(page) {
  const box = el("span", { class: "assumed" });
  box.append(document.createTextNode(T.assumed));
  for (const [key, values, unit] of [["speed", SPEEDS, "mm/s"], ["gain", GAINS, "mm/mV"]]) {
    const choice = el("select", { "aria-label": unit });
    for (const v of values) {
      const o = el("option", { value: v }, `${v} ${unit}`);
      o.selected = v === page[key];
      choice.append(o);
    }
    choice.addEventListener("change", () => { page[key] = Number(choice.value); drawAll(); });
    box.append(choice);
  }
  bar.append(box);
}

// One view for all panes: mm at the upper left corner of the pane, and px per mm.
const view = { x: 0, y: 0, scale: 1 };
class Pane {
  constructor(page) {
    this.page = page;
    this.mark = null;
    const figure = el("figure");
    if (page.caption) {
      const cap = el("figcaption");
      cap.append(el("b", {}, page.title || ""), document.createTextNode(" " + page.caption));
      cap.title = page.caption;
      figure.append(cap);
    }
    this.box = el("div", { class: "pane", tabindex: "0", role: "img", "aria-label": page.name || [page.title, page.caption].filter(Boolean).join(" ") || "ECG" });
    this.picture = page.sheet || el("img", { alt: "", draggable: "false", src: page.src });
    this.over = sv("svg", { class: "over" });
    this.read = el("div", { class: "read", role: "status", hidden: "" });
    this.box.append(this.picture, this.over, this.read);
    figure.append(this.box);
    panes.append(figure);
    this.listen();
  }
  mm(event) {
    const r = this.box.getBoundingClientRect();
    return [view.x + (event.clientX - r.left) / view.scale, view.y + (event.clientY - r.top) / view.scale];
  }
  listen() {
    const fingers = new Map();
    let last = null, gap = 0;
    this.box.addEventListener("pointerdown", (e) => {
      this.box.setPointerCapture(e.pointerId);
      fingers.set(e.pointerId, [e.clientX, e.clientY]);
      if ((measuring || framing) && fingers.size === 1) { const [x, y] = this.mm(e); this.mark = [x, y, x, y]; this.draw(); }
      last = [e.clientX, e.clientY];
      gap = 0;
    });
    this.box.addEventListener("pointermove", (e) => {
      if (!fingers.has(e.pointerId)) return;
      fingers.set(e.pointerId, [e.clientX, e.clientY]);
      if (fingers.size === 2) {
        const [a, b] = [...fingers.values()], now = Math.hypot(a[0] - b[0], a[1] - b[1]);
        if (gap) zoomAll(now / gap, this, { clientX: (a[0] + b[0]) / 2, clientY: (a[1] + b[1]) / 2 });
        gap = now;
      } else if ((measuring || framing) && this.mark) {
        [this.mark[2], this.mark[3]] = this.mm(e);
        this.draw();
      } else if (last) {
        view.x -= (e.clientX - last[0]) / view.scale;
        view.y -= (e.clientY - last[1]) / view.scale;
        last = [e.clientX, e.clientY];
        drawAll();
      }
    });
    const up = (e) => {
      fingers.delete(e.pointerId);
      last = null;
      if (!framing || !this.mark || e.type !== "pointerup") return;
      const m = this.mark, shown = [m[0] - this.page.x, m[1] - this.page.y, m[2] - this.page.x, m[3] - this.page.y];
      const text = Math.abs(m[2] - m[0]) * view.scale > 3 ? framed(this.page, shown) : "";
      if (text) parent.postMessage({ ecgkinRegion: text }, "*"); // a lead and seconds: nothing to keep from anybody
      use(false, false);
    };
    this.box.addEventListener("pointerup", up);
    this.box.addEventListener("pointercancel", up);
    this.box.addEventListener("dblclick", (e) => zoomAll(1.6, this, e));
    this.box.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && !e.metaKey) return;
      e.preventDefault();
      zoomAll(Math.exp(-e.deltaY / 300), this, e);
    }, { passive: false });
    this.box.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
      if (e.key === "+" || e.key === "=") zoomAll(1.3);
      else if (e.key === "-") zoomAll(1 / 1.3);
      else if (e.key === "0") fitAll();
      else if (e.key === "c") cal.click();
      else if (step && measuring) {
        if (!this.mark) {
          const [x, y] = [view.x + this.box.clientWidth / 2 / view.scale, view.y + this.box.clientHeight / 2 / view.scale];
          this.mark = [x, y, x, y];
        }
        const by = e.shiftKey ? 5 : 0.5;
        this.mark[2] += by * step[0];
        this.mark[3] += by * step[1];
        this.draw();
      } else if (step) { view.x += 5 * step[0]; view.y += 5 * step[1]; drawAll(); }
      else return;
      e.preventDefault();
    });
  }
  draw() {
    const s = view.scale, p = this.page, m = this.mark;
    const at = this.picture.style;
    at.width = p.width * s + "px";
    at.height = p.height * s + "px";
    at.transform = `translate(${(p.x - view.x) * s}px, ${(p.y - view.y) * s}px)`;
    this.over.replaceChildren();
    const across = (corners) => corners.map(([x, y]) => `${(x + p.x - view.x) * s},${(y + p.y - view.y) * s}`).join(" ");
    if (p.marks && p.marks.length) {
      const filter = sv("filter", { id: "soft", x: "-5%", y: "-5%", width: "110%", height: "110%" }), soft = sv("g", { filter: "url(#soft)" });
      filter.append(sv("feGaussianBlur", { stdDeviation: 1.2 * s }));
      for (const b of p.marks) soft.append(sv("polygon", { class: "mark", points: across(b.points), style: `fill-opacity:${b.strength}` }));
      this.over.append(filter, soft);
    }
    for (const c of p.curves || []) {
      this.over.append(sv("polyline", { class: c.doubtful ? "curve doubtful" : "curve", points: across(c.points), style: c.doubtful ? "" : `stroke:${c.colour}` }));
      if (!c.name) continue;
      const [x, y] = [c.points[0][0], Math.min(...c.points.map((q) => q[1]))];
      this.over.append(sv("text", { class: "curve-name", x: (x + p.x - view.x) * s + 2, y: (y + p.y - view.y) * s - 3, style: `fill:${c.colour}` }, c.name));
    }
    if (p.outline && p.outline.length) this.over.append(sv("polygon", { points: across(p.outline) }));
    this.read.hidden = !m;
    if (!m) return;
    if (framing) this.read.hidden = true;
    const [x1, y1, x2, y2] = [(m[0] - view.x) * s, (m[1] - view.y) * s, (m[2] - view.x) * s, (m[3] - view.y) * s];
    const h = this.box.clientHeight, w = this.box.clientWidth;
    if (framing) {
      this.over.append(sv("rect", { x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1) }));
      return;
    }
    this.over.append(
      sv("rect", { x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1) }),
      sv("line", { x1, x2: x1, y1: 0, y2: h }), sv("line", { x1: x2, x2, y1: 0, y2: h }),
      sv("line", { x1: 0, x2: w, y1, y2: y1, "stroke-dasharray": "3 4" }), sv("line", { x1: 0, x2: w, y1: y2, y2, "stroke-dasharray": "3 4" }));
    const dx = Math.abs(m[2] - m[0]), dy = m[1] - m[3];
    if (!p.mm && p.mm !== undefined) { this.read.textContent = T.no_scale; return; }
    const speed = p.speed || MM_PER_S, gain = p.gain || MM_PER_MV, ms = dx * 1000 / speed;
    const rate = ms >= 150 ? ` · ${Math.round(60000 / ms)} ${T.bpm}` : "";
    const guess = p.assumed ? ` (${T.assumed} ${speed} mm/s, ${gain} mm/mV)` : "";
    this.read.textContent = `${Math.round(ms)} ms · ${(dy / gain).toFixed(2)} mV${rate}${guess}`;
  }
}
const drawAll = () => { for (const p of all) p.draw(); };
function zoomAll(factor, pane, event) {
  const p = pane || all[0], r = p.box.getBoundingClientRect();
  const at = event ? [event.clientX - r.left, event.clientY - r.top] : [r.width / 2, r.height / 2];
  const scale = Math.min(40, Math.max(0.05, view.scale * factor));
  view.x += at[0] / view.scale - at[0] / scale;
  view.y += at[1] / view.scale - at[1] / scale;
  view.scale = scale;
  drawAll();
}
function fitAll() {
  const width = Math.max(...all.map((p) => p.frame.width)), height = Math.max(...all.map((p) => p.frame.height));
  const box = all[0].box;
  view.scale = Math.min(box.clientWidth / width, box.clientHeight / height);
  view.x = (width - box.clientWidth / view.scale) / 2;
  view.y = Math.max(0, (height - box.clientHeight / view.scale) / 2); // what is lower than the pane hangs from its top
  drawAll();
}
// As high as the pages need at this width, and no higher than the window: no empty paper, no scrolling to the end.
function sized() {
  const frame = window.frameElement;
  if (!frame || !DATA.sized) return;
  let window_px = 900;
  try { window_px = parent.innerHeight; } catch { /* another origin: as if it were a usual screen */ }
  const stacked = panes.classList.contains("stacked"), n = all.length;
  const across = (panes.clientWidth - (stacked ? 0 : 8 * (n - 1))) / (stacked ? 1 : n);
  const ratio = Math.max(...all.map((p) => p.frame.height / p.frame.width));
  const rest = panes.getBoundingClientRect().top + (all[0].box.getBoundingClientRect().top - panes.getBoundingClientRect().top) * (stacked ? n : 1);
  const most = DATA.share * window_px - rest, rows = stacked ? n : 1;
  const wanted = Math.round(Math.max(170 * rows, Math.min(rows * (across * ratio + 2), most)) + 8 * (rows - 1) + rest + 2);
  if (across > 50 && Math.abs(wanted - frame.clientHeight) > 2) frame.style.setProperty("height", wanted + "px", "important");
}

// Whether pages one above the other are larger than side by side: by width, and by a screen's height.
function larger() {
  let high = 900;
  try { high = parent.innerHeight; } catch { /* another origin: as if it were a usual screen */ }
  const most = DATA.share * high - 90, n = all.length;
  const wide = Math.max(...all.map((p) => p.frame.width)), tall = Math.max(...all.map((p) => p.frame.height));
  const scale = (columns, rows) => Math.min(innerWidth / columns / wide, most / rows / tall);
  return innerWidth < 1100 && scale(1, n) > scale(n, 1);
}

// Two recordings, lead by lead, in one drawing: the case's part is its own group, so that it can be shifted.
function overlay(data) {
  // On a phone one column of twelve leads, as wide as it can be.
  const columns = innerWidth < 600 ? 1 : 2, perColumn = 12 / columns;
  const rowMm = 24, colMm = 130, width = columns * colMm, height = perColumn * rowMm;
  const sheet = sv("svg", { class: "sheet", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
  const defs = sv("defs");
  for (const [id, pitch, line, colour] of [["minor", 1, 0.08, "--grid-minor"], ["major", 5, 0.16, "--grid"]]) {
    const tile = sv("pattern", { id, width: pitch, height: pitch, patternUnits: "userSpaceOnUse" });
    tile.append(sv("path", { d: `M0 0V${pitch}M0 0H${pitch}`, "stroke-width": line, style: `stroke:var(${colour})`, fill: "none" }));
    defs.append(tile);
  }
  sheet.append(defs, sv("rect", { width, height, style: "fill:var(--paper)" }),
    sv("rect", { width, height, fill: "url(#minor)" }), sv("rect", { width, height, fill: "url(#major)" }));
  const moved = [];
  data.leads.forEach((lead, n) => {
    const x0 = Math.floor(n / perColumn) * colMm + 3, y0 = (n % perColumn) * rowMm + rowMm / 2 + 3;
    const clip = sv("clipPath", { id: "c" + n });
    clip.append(sv("rect", { x: x0, y: y0 - 25, width: colMm - 4, height: 50 }));
    defs.append(clip);
    const box = sv("g", { "clip-path": `url(#c${n})` });
    // Both from where the query is shown on: on a page of columns V1 begins at 5 s.
    const begin = Math.max(0, (data.a[n] ?? []).findIndex((value) => value !== null));
    const path = (values, fs, colour) => {
      let d = "", pen = false;
      for (let i = Math.max(0, begin - Math.round(fs)); i < values.length; i++) {
        if (values[i] === null) { pen = false; continue; }
        const x = x0 + (i - begin) / fs * MM_PER_S;
        if (x > x0 + colMm + 60) break;
        d += (pen ? "L" : "M") + x.toFixed(2) + " " + (y0 - values[i] * MM_PER_MV).toFixed(2);
        pen = true;
      }
      return sv("path", { d, fill: "none", "stroke-width": 0.35, "stroke-linejoin": "round", style: `stroke:var(${colour})` });
    };
    const other = sv("g");
    if (data.b[n]) other.append(path(data.b[n], data.fs, "--b"));
    box.append(other);
    if (data.a[n]) box.append(path(data.a[n], data.fs, "--a"));
    moved.push(other);
    sheet.append(box, sv("text", { x: x0, y: y0 - rowMm / 2 + 2.5, "font-size": 4, style: "fill:var(--ink)", "font-weight": 600 }, lead));
  });
  for (const [colour, name] of [["--a", data.names[0]], ["--b", data.names[1]]]) {
    const key = el("span", { class: "key" });
    key.append(el("i", { style: `background:var(${colour})` }), document.createTextNode(name));
    bar.append(key);
  }
  const label = el("label", {}, T.shift), slide = el("input", { type: "range", min: -1000, max: 1000, step: 10, value: Math.round(data.shift_ms) });
  const shift = () => { for (const g of moved) g.setAttribute("transform", `translate(${slide.value / 1000 * MM_PER_S} 0)`); };
  slide.addEventListener("input", shift);
  label.append(slide);
  bar.append(label);
  shift();
  return { sheet, x: 0, y: 0, width, height, title: "", caption: "", name: data.names.join(", ") };
}

if (DATA.overlay) all.push(new Pane(overlay(DATA.overlay)));
for (const page of DATA.pages) all.push(new Pane(page));
for (const p of all) {
  const [x, y, width, height] = p.page.frame || [0, 0, p.page.width, p.page.height];
  p.frame = { x, y, width, height };
  [p.page.x, p.page.y] = [-p.frame.x, -p.frame.y];
}
let touched = false;
if (all.length > 1) {
  panes.classList.add("two");
  const stack = button(T.stack, T.stack, () => setStack(!panes.classList.contains("stacked")));
  stack.className = "stack";
  const setStack = (on) => {
    panes.classList.toggle("stacked", on);
    stack.setAttribute("aria-pressed", on);
    touched = false;
    sized();
    fitAll();
  };
  setStack(larger());
}
const guessed = DATA.pages.find((p) => p.assumed && p.mm);
if (guessed) scaleChoices(guessed);
bar.append(hint);
for (const name of ["pointerdown", "wheel", "keydown"]) panes.addEventListener(name, () => { touched = true; }, { passive: true });
new ResizeObserver(() => { sized(); touched ? drawAll() : fitAll(); }).observe(panes);
sized();
fitAll();
