// A picture of few pixels in a canvas as large as its box: squares or smooth, and never a blank between two pictures.

export class Picture {
  #bitmap = null;
  #squares = false;
  #turn = 0;

  constructor(canvas) {
    this.canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  get frame() {
    return this.canvas.closest(".frame");
  }

  /** Show what a promise of PNG bytes brings, unless something newer was shown meanwhile. */
  async load(promise) {
    const turn = ++this.#turn;
    const bitmap = await createImageBitmap(await promise);
    if (turn === this.#turn) this.put(bitmap);
  }

  /** Show a bitmap (the picture owns it from now on), or with null nothing. */
  put(bitmap) {
    this.#turn += 1;
    this.#bitmap?.close();
    this.#bitmap = bitmap;
    if (this.frame) this.frame.dataset.empty = String(bitmap === null);
    this.draw();
  }

  set squares(value) {
    this.#squares = value;
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const size = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    if (canvas.width !== size || canvas.height !== size) {
      canvas.width = size;
      canvas.height = size;
    }
    const context = canvas.getContext("2d");
    if (this.#bitmap === null) {
      context.clearRect(0, 0, size, size);
      return;
    }
    context.imageSmoothingEnabled = !this.#squares;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#bitmap, 0, 0, size, size);
  }
}
