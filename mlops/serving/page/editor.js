// The frame with its mask: what is marked on it, and what the service makes of that.
//
// The mask of the frame shown is a canvas of the frame's own size, opaque where something goes. A
// change of it is sent as a PNG: from then on the frame is an anchor, which tracking keeps.

import { ask, postJson } from "./api.js";

const TINT = "rgb(255 45 120 / 55%)";
const UNDOS = 20;

export class Editor {
  constructor({ stage, image, overlay, onChange, onProblem }) {
    Object.assign(this, { stage, image, overlay, onChange, onProblem });
    this.tool = "box";
    this.size = 20;
    this.mask = document.createElement("canvas");
    this.undos = [];
    this.points = [];
    this.cursor = null; // of the keyboard
    this.drag = null;
    this.sending = Promise.resolve();
    stage.addEventListener("pointerdown", (e) => this.down(e));
    stage.addEventListener("pointermove", (e) => this.move(e));
    stage.addEventListener("pointerup", (e) => this.up(e));
    stage.addEventListener("pointercancel", () => { this.drag = null; this.draw(); });
    stage.addEventListener("keydown", (e) => this.key(e));
    new ResizeObserver(() => this.draw()).observe(stage);
  }

  open(video) {
    this.video = video;
    this.place = `/v1/videos/${video.id}`;
    this.masked = new Set(); // frames that have a mask
    this.number = -1;
  }

  // ---------------------------------------------------------------- which frame

  async show(number, again = false) {
    if (number === this.number && !again) return;
    this.number = number;
    this.undos = [];
    this.points = [];
    this.drag = null;
    const image = new Image();
    image.src = `${this.place}/frames/${number}`;
    const mask = this.masked.has(number) ? this.fetchMask(number) : null;
    this.stage.classList.add("busy");
    try {
      await image.decode();
      const found = await mask;
      if (number !== this.number) return; // another one was asked for meanwhile
      this.image.src = image.src;
      this.mask.width = image.naturalWidth;
      this.mask.height = image.naturalHeight;
      if (found) this.paper().drawImage(found, 0, 0, this.mask.width, this.mask.height);
      await this.image.decode();
      this.draw();
      this.onChange();
      new Image().src = `${this.place}/frames/${Math.min(number + 1, this.video.frames - 1)}`;
    } catch {
      const answer = await fetch(image.src);
      const why = answer.ok ? "This frame cannot be shown." : (await answer.json()).detail;
      this.onProblem(new Error(why));
    } finally {
      if (number === this.number) this.stage.classList.remove("busy");
    }
  }

  async fetchMask(number) {
    const answer = await fetch(`${this.place}/masks/${number}`);
    return answer.ok ? createImageBitmap(await answer.blob()) : null;
  }

  paper() {
    return this.mask.getContext("2d", { willReadFrequently: true });
  }

  get empty() {
    const { width, height } = this.mask;
    if (!width) return true;
    const data = this.paper().getImageData(0, 0, width, height).data;
    for (let at = 3; at < data.length; at += 4) if (data[at] > 127) return false;
    return true;
  }

  // ---------------------------------------------------------------- marks

  remember() {
    const { width, height } = this.mask;
    this.undos.push(this.paper().getImageData(0, 0, width, height));
    if (this.undos.length > UNDOS) this.undos.shift();
  }

  undo() {
    if (!this.undos.length) return;
    this.paper().putImageData(this.undos.pop(), 0, 0);
    this.points = [];
    this.send();
  }

  clear() {
    this.remember();
    this.paper().clearRect(0, 0, this.mask.width, this.mask.height);
    this.points = [];
    this.send();
  }

  at(event) {
    const box = this.shown();
    const stage = this.stage.getBoundingClientRect();
    const x = ((event.clientX - stage.left - box.left) / box.width) * this.mask.width;
    const y = ((event.clientY - stage.top - box.top) / box.height) * this.mask.height;
    return this.inside({ x, y });
  }

  inside({ x, y }) {
    return {
      x: Math.max(0, Math.min(this.mask.width - 1, x)),
      y: Math.max(0, Math.min(this.mask.height - 1, y)),
    };
  }

  down(event) {
    if (event.button > 0 && this.tool !== "point") return;
    event.preventDefault();
    this.stage.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    this.cursor = null;
    this.begin(this.at(event));
  }

  begin(spot) {
    this.drag = { from: spot, to: spot };
    if (this.tool === "brush" || this.tool === "eraser") {
      this.remember();
      this.stroke(spot, spot);
    }
    this.draw();
  }

  move(event) {
    if (!this.drag) return;
    const spot = this.at(event);
    if (this.tool === "brush" || this.tool === "eraser") this.stroke(this.drag.to, spot);
    this.drag.to = spot;
    this.draw();
  }

  up(event) {
    if (!this.drag) return;
    this.drag.to = this.at(event);
    this.finish(!(event.altKey || event.button === 2));
  }

  finish(on = true) {
    const { from, to } = this.drag;
    this.drag = null;
    if (this.tool === "box") {
      if (Math.abs(from.x - to.x) < 3 || Math.abs(from.y - to.y) < 3) return this.draw();
      const [x, y] = this.scale();
      this.select({ box: [from.x * x, from.y * y, to.x * x, to.y * y] }, true);
    } else if (this.tool === "point") {
      const [x, y] = this.scale();
      this.points.push([to.x * x, to.y * y, on]);
      if (!this.points.some(([, , inside]) => inside)) this.points = [];
      else this.select({ points: this.points }, this.points.length === 1);
    } else {
      this.send();
    }
  }

  scale() {
    return [this.video.width / this.mask.width, this.video.height / this.mask.height];
  }

  stroke(from, to) {
    const paper = this.paper();
    paper.save();
    paper.globalCompositeOperation = this.tool === "eraser" ? "destination-out" : "source-over";
    paper.lineCap = "round";
    paper.lineWidth = (this.size / this.shown().width) * this.mask.width;
    paper.strokeStyle = "#fff";
    paper.beginPath();
    paper.moveTo(from.x, from.y);
    paper.lineTo(to.x + 0.01, to.y);
    paper.stroke();
    paper.restore();
  }

  // What a box was drawn around is added; more clicks say better what the first one meant.
  async select(marks, fresh) {
    const number = this.number;
    this.stage.classList.add("busy");
    try {
      const answer = await postJson(`${this.place}/selection`, { frame: number, ...marks });
      const found = await createImageBitmap(await answer.blob());
      if (number !== this.number) return;
      if (fresh) this.remember();
      else this.paper().putImageData(this.undos.at(-1), 0, 0);
      this.paper().drawImage(found, 0, 0, this.mask.width, this.mask.height);
      await this.send();
    } catch (error) {
      this.onProblem(error);
    } finally {
      this.stage.classList.remove("busy");
      this.draw();
    }
  }

  // Masks go one after the other, so that the last one stays.
  send() {
    this.draw();
    const path = `${this.place}/anchors/${this.number}`;
    const number = this.number;
    const picture = new Promise((resolve) => this.mask.toBlob(resolve, "image/png"));
    this.masked.add(number);
    this.sending = this.sending
      .then(async () => ask("PUT", path, await picture, "image/png"))
      .catch((error) => this.onProblem(error));
    this.onChange(number);
    return this.sending;
  }

  // ---------------------------------------------------------------- keyboard

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in steps) {
      const [x, y] = steps[event.key];
      const far = this.mask.width * (event.shiftKey ? 0.05 : 0.01);
      const from = this.cursor ?? { x: this.mask.width / 2, y: this.mask.height / 2 };
      this.cursor = this.inside({ x: from.x + x * far, y: from.y + y * far });
      if (this.drag) {
        if (this.tool !== "box") this.stroke(this.drag.to, this.cursor);
        this.drag.to = this.cursor;
      }
    } else if (event.key === "Enter" || event.key === " ") {
      this.cursor ??= { x: this.mask.width / 2, y: this.mask.height / 2 };
      if (this.drag) this.finish();
      else {
        this.begin(this.cursor);
        if (this.tool === "point") this.finish(!event.altKey);
      }
    } else if (event.key === "Escape") {
      this.drag = null;
    } else return;
    event.preventDefault();
    this.draw();
  }

  // ---------------------------------------------------------------- drawing

  // Where the picture is in the stage: it may have bars beside it.
  shown() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const share = Math.min(width / this.mask.width, height / this.mask.height);
    const size = { width: this.mask.width * share, height: this.mask.height * share };
    return { ...size, left: (width - size.width) / 2, top: (height - size.height) / 2 };
  }

  draw() {
    if (!this.mask.width) return;
    const box = this.shown();
    if (box.width < 1 || box.height < 1) return; // not laid out, or hidden
    const density = window.devicePixelRatio || 1;
    const canvas = this.overlay;
    canvas.width = Math.round(box.width * density);
    canvas.height = Math.round(box.height * density);
    canvas.style.left = `${box.left}px`;
    canvas.style.top = `${box.top}px`;
    canvas.style.width = `${box.width}px`;
    canvas.style.height = `${box.height}px`;
    const paper = canvas.getContext("2d");
    this.drawMask(paper, canvas, 1.5 * density);
    paper.scale(canvas.width / this.mask.width, canvas.height / this.mask.height);
    const line = this.mask.width / box.width;
    if (this.drag && this.tool === "box") this.drawBox(paper, line);
    if (this.cursor) this.drawCursor(paper, line);
  }

  // A tint with a white rim, to be seen on whatever colour.
  drawMask(paper, canvas, rim) {
    const size = [canvas.width, canvas.height];
    for (const x of [-rim, 0, rim]) {
      for (const y of [-rim, 0, rim]) paper.drawImage(this.mask, x, y, ...size);
    }
    paper.globalCompositeOperation = "destination-out";
    paper.drawImage(this.mask, 0, 0, ...size);
    paper.globalCompositeOperation = "source-over";
    const tinted = new OffscreenCanvas(...size);
    const under = tinted.getContext("2d");
    under.drawImage(this.mask, 0, 0, ...size);
    under.globalCompositeOperation = "source-in";
    under.fillStyle = TINT;
    under.fillRect(0, 0, ...size);
    paper.drawImage(tinted, 0, 0);
  }

  drawBox(paper, line) {
    const { from, to } = this.drag;
    for (const [colour, dash] of [["#000", []], ["#fff", [6 * line, 4 * line]]]) {
      paper.setLineDash(dash);
      paper.lineWidth = 2 * line;
      paper.strokeStyle = colour;
      paper.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y);
    }
    paper.setLineDash([]);
  }

  drawCursor(paper, line) {
    const { x, y } = this.cursor;
    const arm = 12 * line;
    for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
      paper.strokeStyle = colour;
      paper.lineWidth = width * line;
      paper.beginPath();
      paper.moveTo(x - arm, y);
      paper.lineTo(x + arm, y);
      paper.moveTo(x, y - arm);
      paper.lineTo(x, y + arm);
      paper.stroke();
    }
  }
}
