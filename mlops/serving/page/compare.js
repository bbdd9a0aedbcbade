// Before and after, frame by frame, with a slider between them.

export class Compare {
  constructor({ halves, before, after, split, at, place, play }) {
    Object.assign(this, { halves, before, after, split, at, place, play });
    split.addEventListener("input", () => halves.style.setProperty("--at", `${split.value}%`));
    at.addEventListener("input", () => { this.stop(); this.show(Number(at.value)); });
    play.addEventListener("click", () => (this.playing ? this.stop() : this.start()));
  }

  open(video, job) {
    this.stop();
    this.frames = job.frames;
    this.fps = fraction(video.fps);
    this.paths = [`/v1/videos/${video.id}/frames/`, `/v1/jobs/${job.id}/frames/`];
    this.halves.style.setProperty("--ratio", video.width / video.height);
    this.at.max = job.frames - 1;
    this.at.value = 0;
    return this.show(0);
  }

  // Both or none, so that the two are always of one frame.
  async show(number) {
    this.wanted = number;
    const pictures = this.paths.map((path) => {
      const image = new Image();
      image.src = path + number;
      return image;
    });
    try {
      await Promise.all(pictures.map((image) => image.decode()));
    } catch {
      return; // a frame of the video that is not there: it is damaged at its end
    }
    if (this.wanted !== number) return;
    [this.before.src, this.after.src] = pictures.map((image) => image.src);
    this.at.value = number;
    this.place.textContent = `${number + 1} / ${this.frames}`;
  }

  async start() {
    this.playing = true;
    this.play.setAttribute("aria-label", "Pause");
    this.play.classList.add("playing");
    let number = Number(this.at.value);
    while (this.playing) {
      const began = performance.now();
      number = (number + 1) % this.frames;
      await this.show(number);
      const left = 1000 / this.fps - (performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, left)));
    }
  }

  stop() {
    this.playing = false;
    this.play.setAttribute("aria-label", "Play");
    this.play.classList.remove("playing");
  }
}

function fraction(text) {
  const [above, below = 1] = text.split("/").map(Number);
  return above / below || 25;
}
