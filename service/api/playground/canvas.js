// Pixels on screen: tiles of images, a heat map, and the drawing area with its hole.

const byte = (value) => Math.max(0, Math.min(255, Math.round(value * 255)));

/** One image of [C, H, W] values in [0, 1] on a canvas of its own size. */
export function paint(canvas, values, [channels, height, width]) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const picture = context.createImageData(width, height);
  const plane = height * width;
  for (let i = 0; i < plane; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      picture.data[4 * i + c] = byte(values[(channels === 3 ? c : 0) * plane + i]);
    }
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** The image in grey with the heat over it: the hottest pixel is fully orange. */
export function paintHeat(canvas, image, heat, [channels, height, width]) {
  paint(canvas, image, [channels, height, width]);
  const context = canvas.getContext("2d");
  const picture = context.getImageData(0, 0, width, height);
  const plane = height * width;
  const perPixel = Array.from({ length: plane }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < channels; c += 1) sum += Math.max(0, heat[c * plane + i]);
    return sum;
  });
  const hottest = Math.max(...perPixel, 1e-12);
  perPixel.forEach((value, i) => {
    const share = Math.sqrt(value / hottest);
    [255, 122, 26].forEach((colour, c) => {
      picture.data[4 * i + c] = picture.data[4 * i + c] * 0.55 * (1 - share) + colour * share;
    });
  });
  context.putImageData(picture, 0, 0);
}

/** The drawing area: an image and a hole of the model's size, painted by pointer or keyboard. */
export class Editor {
  constructor(canvas, state) {
    this.canvas = canvas;
    this.state = state;
    this.tool = "ink";
    this.colour = [1, 1, 1];
    this.resize([1, 28, 28]);
    canvas.addEventListener("pointerdown", (event) => this.#stroke(event, true));
    canvas.addEventListener("pointermove", (event) => this.#stroke(event, false));
    canvas.addEventListener("pointerup", () => { this.last = null; });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.show());
    canvas.addEventListener("focus", () => this.show());
  }

  resize(shape) {
    this.shape = shape;
    const [channels, height, width] = shape;
    this.image = new Float32Array(channels * height * width);
    this.hole = new Uint8Array(height * width);
    this.cursor = [Math.floor(height / 2), Math.floor(width / 2)];
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    this.show();
  }

  clear() { this.image.fill(0); this.hole.fill(0); this.show(); }

  setImage(values) { this.image.set(values); this.show(); }

  setHole(kind) {
    const [, height, width] = this.shape;
    const inside = {
      none: () => false,
      left: (y, x) => x < width / 2,
      lower: (y) => y >= height / 2,
      centre: (y, x) => y >= height / 4 && y < (3 * height) / 4 && x >= width / 4 && x < (3 * width) / 4,
    }[kind];
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) this.hole[y * width + x] = inside(y, x) ? 1 : 0;
    }
    this.show();
  }

  get hasHole() { return this.hole.some((v) => v === 1); }

  get isEmpty() { return !this.image.some((v) => v > 0); }

  /** The image as base64 PNG; what lies under the hole goes as it is and is not looked at. */
  imagePng() { return pngOf(this.image, this.shape); }

  holePng() {
    const [, height, width] = this.shape;
    return pngOf(Float32Array.from(this.hole), [1, height, width]);
  }

  /** A picture of any size, scaled to the model's. */
  async load(file) {
    const bitmap = await createImageBitmap(file);
    const [channels, height, width] = this.shape;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    const plane = height * width;
    for (let i = 0; i < plane; i += 1) {
      const [r, g, b] = [0, 1, 2].map((c) => (data[4 * i + c] * data[4 * i + 3]) / 65025);
      if (channels === 3) [r, g, b].forEach((v, c) => { this.image[c * plane + i] = v; });
      else this.image[i] = 0.299 * r + 0.587 * g + 0.114 * b;
    }
    this.show();
  }

  show() {
    const [, height, width] = this.shape;
    paint(this.canvas, this.image, this.shape);
    const context = this.canvas.getContext("2d");
    const picture = context.getImageData(0, 0, width, height);
    this.hole.forEach((hidden, i) => {
      if (!hidden) return;
      const stripe = (Math.floor(i / width) + (i % width)) % 2 ? 1 : 0.82; // hidden is striped
      [92, 140, 232].forEach((colour, c) => { picture.data[4 * i + c] = colour * stripe; });
    });
    context.putImageData(picture, 0, 0);
    if (document.activeElement === this.canvas && this.byKey) {
      context.fillStyle = "#f3b562";
      context.fillRect(this.cursor[1], this.cursor[0], 1, 1);
    }
  }

  #stroke(event, down) {
    if (down) this.canvas.setPointerCapture(event.pointerId);
    if (!down && event.buttons === 0) return;
    event.preventDefault();
    this.byKey = false;
    const box = this.canvas.getBoundingClientRect();
    const [, height, width] = this.shape;
    const at = [((event.clientY - box.top) / box.height) * height, ((event.clientX - box.left) / box.width) * width];
    const from = down || !this.last ? at : this.last;
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(at[0] - from[0], at[1] - from[1])));
    for (let k = 1; k <= steps; k += 1) {
      this.#dab(from[0] + ((at[0] - from[0]) * k) / steps, from[1] + ((at[1] - from[1]) * k) / steps);
    }
    this.last = at;
    this.show();
  }

  #key(event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    this.byKey = true;
    const [, height, width] = this.shape;
    if (move) {
      this.cursor[0] = Math.max(0, Math.min(height - 1, this.cursor[0] + move[0]));
      this.cursor[1] = Math.max(0, Math.min(width - 1, this.cursor[1] + move[1]));
    } else {
      this.#dab(this.cursor[0] + 0.5, this.cursor[1] + 0.5);
    }
    const what = this.tool === "erase" ? "erased" : `${this.tool} painted`;
    this.state.textContent = `row ${this.cursor[0] + 1}, column ${this.cursor[1] + 1}${move ? "" : `, ${what}`}`;
    this.show();
  }

  /** A round, soft-edged brush for ink, like the digits' own strokes; a hard one for holes. */
  #dab(y, x) {
    const [channels, height, width] = this.shape;
    const radius = Math.max(height, width) / (this.tool === "ink" ? 17 : 11);
    for (let row = Math.floor(y - radius - 1); row <= y + radius + 1; row += 1) {
      for (let column = Math.floor(x - radius - 1); column <= x + radius + 1; column += 1) {
        if (row < 0 || column < 0 || row >= height || column >= width) continue;
        const distance = Math.hypot(row + 0.5 - y, column + 0.5 - x);
        const strength = Math.max(0, Math.min(1, radius + 0.5 - distance));
        if (strength > 0) this.#apply(row * width + column, strength, channels, height * width);
      }
    }
  }

  #apply(i, strength, channels, plane) {
    if (this.tool === "hole") { if (strength >= 0.5) this.hole[i] = 1; return; }
    if (this.tool === "erase") this.hole[i] = 0;
    for (let c = 0; c < channels; c += 1) {
      const old = this.image[c * plane + i];
      const target = this.tool === "erase" ? 0 : this.colour[c];
      this.image[c * plane + i] = channels === 1 && target > 0
        ? Math.max(old, strength * target)
        : old + (target - old) * strength;
    }
  }
}

/** An image as a PNG file in base64. */
export function pngOf(values, shape) {
  return paint(document.createElement("canvas"), values, shape).toDataURL("image/png").split(",")[1];
}
