// The page: four steps, of which one is shown. Its address names the video and the job, so that it
// can be left and come back to.

import { Problem, ask, getJson, postJson, upload, wait } from "./api.js";
import { Compare } from "./compare.js";
import { Editor } from "./editor.js";

const $ = (id) => document.getElementById(id);
const STEPS = ["choose", "mark", "fill", "compare"];
const HINTS = {
  box: "Draw a box around it. With the keyboard: arrows, Enter at two corners.",
  point: "Click on it; Alt-click on what is not part of it.",
  brush: "Paint over it.",
  eraser: "Wipe off what should stay.",
};

const address = new URLSearchParams(location.hash.slice(1));

let service = null;
let video = null;
let job = null;
let turn = 0; // whoever waits for something that was left meanwhile sees another number

const editor = new Editor({
  stage: $("stage"),
  image: $("frame"),
  overlay: $("overlay"),
  onChange: changed,
  onProblem: complain,
});
const compare = new Compare({
  halves: $("halves"), before: $("before"), after: $("after"), split: $("split"),
  at: $("compare-at"), place: $("compare-place"), play: $("play"),
});

// ------------------------------------------------------------------ steps

function go(step) {
  turn += 1;
  compare.stop();
  for (const one of STEPS) $(one).hidden = one !== step;
  for (const [number, item] of [...$("steps").children].entries()) {
    item.classList.toggle("done", number < STEPS.indexOf(step));
    if (item.dataset.step === step) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  complain(null);
  const here = new URLSearchParams();
  if (video && step !== "choose") here.set("video", video.id);
  if (job && (step === "fill" || step === "compare")) here.set("job", job.id);
  history.replaceState(null, "", `#${here}`);
  if (turn > 1) $("main").focus({ preventScroll: true });
  return turn;
}

function complain(error) {
  $("problem").hidden = !error;
  $("problem").textContent = error ? error.message : "";
  if (error) $("problem").scrollIntoView({ block: "nearest" });
}

async function trying(work) {
  try {
    complain(null);
    await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) await askToken(work);
    else complain(error);
  }
}

// ------------------------------------------------------------------ choose

function size(bytes) {
  const [unit, name] = bytes >= 1e9 ? [1e9, "GB"] : bytes >= 1e6 ? [1e6, "MB"] : [1e3, "KB"];
  return `${Number((bytes / unit).toPrecision(2))} ${name}`;
}

async function choose(file) {
  if (!file) return;
  if (file.size > service.limits.bytes) {
    complain(new Error(`${file.name} has ${size(file.size)}, more than ${size(service.limits.bytes)}.`));
    return;
  }
  await trying(async () => {
    $("drop").hidden = true;
    $("uploading").hidden = false;
    try {
      video = await upload(file, (share) => {
        $("upload-bar").value = share;
        $("upload-text").textContent =
          share < 1 ? `${file.name}: ${Math.round(100 * share)} %` : "Looking at the video…";
      });
    } finally {
      $("drop").hidden = false;
      $("uploading").hidden = true;
      $("file").value = "";
    }
    await mark(0);
  });
}

$("file").addEventListener("change", () => choose($("file").files[0]));
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (e) => { e.preventDefault(); $("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (e) => { if (!e.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (e) => {
  e.preventDefault();
  $("drop").classList.remove("over");
  if (!$("choose").hidden) choose(e.dataTransfer.files[0]);
});
for (const button of document.querySelectorAll(".another")) {
  button.addEventListener("click", () => { video = job = null; go("choose"); });
}

// ------------------------------------------------------------------ mark

let anchors = new Set();
let followed = false;

async function mark(number) {
  const mine = go("mark");
  editor.open(video);
  anchors = new Set(await getJson(`/v1/videos/${video.id}/anchors`));
  const tracking = await getJson(`/v1/videos/${video.id}/tracking`);
  if (mine !== turn) return;
  followed = tracking.state === "done";
  editor.masked = new Set(followed ? Array(video.frames).keys() : anchors);
  $("at").max = video.frames - 1;
  $("at").value = number;
  if (tracking.state === "running") follows(mine);
  await editor.show(number, true);
  changed();
}

function changed(edited) {
  if (edited !== undefined) {
    anchors.add(edited);
    followed = false;
  }
  $("place").textContent = `${editor.number + 1} / ${video.frames}`;
  $("undo").disabled = !editor.undos.length;
  $("clear").disabled = editor.empty;
  $("follow").disabled = !anchors.size;
  $("follow").textContent = still() ? "Use it in the whole video" : "Follow it through the video";
  $("start").disabled = !followed;
  $("follow").classList.toggle("main", !followed);
  $("followed").hidden = !followed;
  $("followed").textContent = "Step through the video: where the mask is off, correct it and follow again.";
  const last = Math.max(1, video.frames - 1);
  $("anchors").replaceChildren(...[...anchors].map((number) => {
    const dot = document.createElement("i");
    dot.style.left = `${(100 * number) / last}%`;
    return dot;
  }));
  $("frame").alt = `Frame ${editor.number + 1} of ${video.frames}`;
}

const still = () => document.querySelector("[name=still]:checked").value === "yes";

async function step(by) {
  const number = Math.max(0, Math.min(video.frames - 1, Number($("at").value) + by));
  $("at").value = number;
  await editor.show(number);
}

$("at").addEventListener("input", () => step(0));
$("earlier").addEventListener("click", () => step(-1));
$("later").addEventListener("click", () => step(1));
$("undo").addEventListener("click", () => editor.undo());
$("clear").addEventListener("click", () => editor.clear());
$("size").addEventListener("input", () => { editor.size = Number($("size").value); });
for (const one of document.querySelectorAll("[name=tool]")) {
  one.addEventListener("change", () => useTool(one.value));
}
for (const one of document.querySelectorAll("[name=still]")) {
  one.addEventListener("change", () => { followed = false; changed(); });
}
$("stage").addEventListener("contextmenu", (e) => e.preventDefault());
document.addEventListener("keydown", (e) => {
  if ($("mark").hidden || e.target.matches("input[type=number], input[type=password], select")) return;
  if (e.key === "," || e.key === ".") step(e.key === "," ? -1 : 1);
  if (e.key === "z" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); editor.undo(); }
});

function useTool(tool) {
  editor.tool = tool;
  editor.points = [];
  editor.drag = null;
  $("hint").textContent = HINTS[tool];
  $("size-row").hidden = tool !== "brush" && tool !== "eraser";
}

$("follow").addEventListener("click", () => trying(async () => {
  await editor.sending;
  await postJson(`/v1/videos/${video.id}/tracking`, { still: still() });
  await follows(turn);
}));

// Shows how far the masks are, and puts them on the frame shown when they are there.
async function follows(mine) {
  $("following").hidden = false;
  $("follow").disabled = true;
  $("start").disabled = true;
  try {
    for (;;) {
      const now = await getJson(`/v1/videos/${video.id}/tracking`);
      if (mine !== turn) return;
      if (now.state === "failed") throw new Problem(422, now.reason);
      if (now.state === "done") break;
      if (now.frames) $("follow-bar").value = now.frames_done / now.frames;
      else $("follow-bar").removeAttribute("value");
      $("follow-text").textContent = now.frames
        ? `Following: ${now.frames_done} of ${now.frames} frames` : "Reading the video…";
      await wait(400);
    }
    followed = true;
    editor.masked = new Set(Array(video.frames).keys());
    await editor.show(editor.number, true);
  } finally {
    $("following").hidden = true;
    if (mine === turn) changed();
  }
}

$("start").addEventListener("click", () => trying(async () => {
  await editor.sending;
  const form = new FormData();
  const fields = {
    video_id: video.id, tracked: "true", native: $("native").checked,
    dilate: $("dilate").value || "0", audio: $("audio").checked, format: $("format").value,
  };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  $("start").disabled = true;
  try {
    job = await (await ask("POST", "/v1/jobs", form)).json();
  } finally {
    $("start").disabled = false;
  }
  await fill();
}));

// ------------------------------------------------------------------ fill

async function fill() {
  const mine = go("fill");
  while (mine === turn) {
    job = await getJson(`/v1/jobs/${job.id}`);
    if (mine !== turn) return;
    if (job.state === "done") return result();
    if (job.state === "cancelled") return mark(0);
    if (job.state === "failed") {
      await mark(0);
      throw new Problem(422, `It was not filled: ${job.reason}`);
    }
    $("fill-bar").value = job.frames_done / job.frames;
    $("fill-text").textContent = job.state === "queued"
      ? "Waiting for its turn" : `${job.frames_done} of ${job.frames} frames${left()}`;
    await wait(700);
  }
}

function left() {
  const seconds = Date.now() / 1000 - job.began;
  if (job.frames_done < 10 || seconds < 3) return "";
  const more = (seconds / job.frames_done) * (job.frames - job.frames_done);
  return more < 90 ? `, about ${Math.ceil(more / 5) * 5} s left` : `, about ${Math.round(more / 60)} min left`;
}

$("cancel").addEventListener("click", () => trying(async () => {
  await ask("DELETE", `/v1/jobs/${job.id}`);
  await mark(0);
}));

// ------------------------------------------------------------------ compare

async function result() {
  go("compare");
  $("download").href = job.result;
  $("download").textContent = `Download (${size(job.result_bytes)})`;
  $("player").src = `${job.result}?inline=true`;
  const seconds = Math.max(1, Math.round(job.finished - job.began));
  $("about-result").textContent = `${job.frames} frames, filled by ${job.model} in ${seconds} s`
    + `${video.audio ? ", with its sound" : ""}. Kept until ${new Date(1000 * job.expires).toLocaleString()}.`;
  $("remarks").replaceChildren(...job.remarks.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
  await compare.open(video, job);
}

$("correct").addEventListener("click", () => trying(() => mark(Number($("compare-at").value))));

// ------------------------------------------------------------------ begin

async function askToken(then) {
  const dialog = $("ask-token");
  dialog.showModal();
  $("token-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await postJson("/v1/session", { token: $("token").value });
      dialog.close();
      await trying(then);
    } catch (error) {
      $("token-problem").hidden = false;
      $("token-problem").textContent = error.message;
    }
  };
}

async function begin() {
  service = await getJson("/v1/service");
  $("model").textContent = service.model || "no model yet";
  const { bytes, frames, pixels, keep_hours: hours } = service.limits;
  $("keeps").textContent = `It is removed ${hours} h after it was last used.`;
  $("limits").textContent = `Up to ${size(bytes)}, ${frames.toLocaleString()} frames, `
    + `${(pixels / 1e6).toFixed(1)} megapixels a frame`;
  if (!address.has("video")) return go("choose");
  try {
    video = await getJson(`/v1/videos/${address.get("video")}`);
    if (address.has("job")) {
      job = await getJson(`/v1/jobs/${address.get("job")}`);
      return await fill();
    }
    return await mark(0);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    go("choose");
    complain(error);
  }
}

useTool("box");
trying(begin);
