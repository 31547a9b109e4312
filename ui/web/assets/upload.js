// Pictures become small before they are sent: a photo of 31 megapixels takes minutes on a slow line, and is not read
// better than one of 2,400 pixels. A photo that is taken here can be cropped first.
if (!window.ecgkinUpload) {
  window.ecgkinUpload = true;
  const MOST_PX = 2400, FEW_BYTES = 1500000, QUALITY = 0.88;
  const T = () => window.ecgkinWords;
  const field = () => document.querySelector('[data-testid="stFileUploader"] input[type="file"]');
  const isPicture = (file) => file.type.startsWith("image/") || /\.(jpe?g|png|webp|heic|heif|bmp)$/i.test(file.name);

  async function opened(file) {
    try { return await createImageBitmap(file); } catch { return null; } // of a kind that this browser cannot read
  }
  // The picture, or the part [x, y, width, height] of it (shares of its size), no larger than it is read.
  async function small(file, part) {
    if (!isPicture(file)) return file;
    const picture = await opened(file);
    if (!picture) return file;
    const [x, y, w, h] = part || [0, 0, 1, 1];
    const from = [x * picture.width, y * picture.height, w * picture.width, h * picture.height];
    const scale = Math.min(1, MOST_PX / Math.max(from[2], from[3]));
    if (!part && scale === 1 && file.size < FEW_BYTES) return file;
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(from[2] * scale);
    canvas.height = Math.round(from[3] * scale);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, ...from, 0, 0, canvas.width, canvas.height);
    picture.close();
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    if (!blob || (!part && scale === 1 && blob.size >= file.size)) return file;
    return new File([blob], file.name.replace(/\.\w+$/, "") + ".jpg", { type: "image/jpeg" });
  }
  function hand(input, files) {
    const box = new DataTransfer();
    for (const file of files) box.items.add(file);
    input.files = box.files;
    input.ecgkinReady = true;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }
  const large = (files) => [...files].some((file) => isPicture(file) && file.size >= 200000);

  document.addEventListener("change", (event) => {
    const input = event.target;
    if (!input.matches || !input.matches('[data-testid="stFileUploader"] input[type="file"]')) return;
    if (input.ecgkinReady) { input.ecgkinReady = false; return; }
    if (!large(input.files)) return;
    event.stopImmediatePropagation();
    Promise.all([...input.files].map((file) => small(file))).then((files) => hand(input, files));
  }, true);
  document.addEventListener("drop", (event) => {
    const zone = event.target.closest && event.target.closest('[data-testid="stFileUploaderDropzone"]');
    const files = event.dataTransfer ? [...event.dataTransfer.files] : [];
    if (!zone || !large(files)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
    Promise.all(files.map((file) => small(file))).then((made) => hand(field(), made));
  }, true);

  document.addEventListener("click", (event) => {
    if (!event.target.closest || !event.target.closest("button.ek-camera")) return;
    const input = document.createElement("input");
    [input.type, input.accept] = ["file", "image/*"];
    input.setAttribute("capture", "environment");
    input.addEventListener("change", () => camera(input.files[0]));
    window.ecgkinCamera = input; // some browsers forget an input that nothing holds
    input.click();
  });
  async function camera(file) {
    if (!file) return;
    const part = await cropped(file);
    if (part === null || !field()) return;
    hand(field(), [await small(file, part || undefined)]);
  }
  // A frame over the photo. Resolves to its place, to false for the whole photo, to null where it was put away.
  function cropped(file) {
    return new Promise((done) => {
      const box = document.createElement("dialog"), stage = document.createElement("div"), bar = document.createElement("div");
      const picture = document.createElement("img"), frame = document.createElement("div");
      box.className = "ek-crop";
      box.setAttribute("aria-label", T().crop);
      const hint = document.createElement("p");
      hint.textContent = T().crop_hint;
      stage.className = "ek-crop-stage";
      frame.className = "ek-crop-frame";
      picture.src = URL.createObjectURL(file);
      picture.alt = "";
      let part = [0.04, 0.04, 0.92, 0.92];
      const place = () => { [frame.style.left, frame.style.top, frame.style.width, frame.style.height] = part.map((v) => `${100 * v}%`); };
      const move = (corner, x, y) => {
        const [l, t, r, b] = [part[0], part[1], part[0] + part[2], part[1] + part[3]], least = 0.1;
        const at = [...[l, t, r, b]];
        if (corner[1] === "w") at[0] = Math.min(Math.max(0, x), r - least); else at[2] = Math.max(Math.min(1, x), l + least);
        if (corner[0] === "n") at[1] = Math.min(Math.max(0, y), b - least); else at[3] = Math.max(Math.min(1, y), t + least);
        part = [at[0], at[1], at[2] - at[0], at[3] - at[1]];
        place();
      };
      for (const corner of ["nw", "ne", "sw", "se"]) {
        const grip = document.createElement("button");
        grip.type = "button";
        grip.className = `ek-crop-grip ${corner}`;
        grip.setAttribute("aria-label", `${T().crop_corner} ${corner}`);
        grip.addEventListener("pointerdown", (e) => { grip.setPointerCapture(e.pointerId); e.preventDefault(); });
        grip.addEventListener("pointermove", (e) => {
          if (!grip.hasPointerCapture(e.pointerId)) return;
          const r = stage.getBoundingClientRect();
          move(corner, (e.clientX - r.left) / r.width, (e.clientY - r.top) / r.height);
        });
        grip.addEventListener("keydown", (e) => {
          const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
          if (!step) return;
          e.preventDefault();
          const x = corner[1] === "w" ? part[0] : part[0] + part[2], y = corner[0] === "n" ? part[1] : part[1] + part[3];
          move(corner, x + step[0] / 50, y + step[1] / 50);
        });
        frame.append(grip);
      }
      const end = (value) => { URL.revokeObjectURL(picture.src); box.close(); box.remove(); done(value); };
      for (const [name, value] of [["crop_use", () => part], ["crop_whole", () => false], ["crop_cancel", () => null]]) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = name;
        button.textContent = T()[name];
        button.addEventListener("click", () => end(value()));
        bar.append(button);
      }
      box.addEventListener("cancel", (e) => { e.preventDefault(); end(null); });
      // What this browser cannot show, it cannot crop.
      picture.addEventListener("error", () => end(false));
      bar.className = "ek-crop-bar";
      stage.append(picture, frame);
      box.append(hint, stage, bar);
      document.body.append(box);
      place();
      box.showModal();
    });
  }
}
