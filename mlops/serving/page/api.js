// Requests to the service. Every error is a Problem with words for people.

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function problemOf(answer) {
  try {
    return new Problem(answer.status, (await answer.json()).detail);
  } catch {
    return new Problem(answer.status, `The service answered ${answer.status}.`);
  }
}

export async function ask(method, path, body, type) {
  let answer;
  try {
    const headers = type ? { "Content-Type": type } : {};
    answer = await fetch(path, { method, body, headers });
  } catch {
    throw new Problem(0, "The service cannot be reached. Is it running?");
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

export const getJson = async (path) => (await ask("GET", path)).json();

export const postJson = (path, value) =>
  ask("POST", path, JSON.stringify(value), "application/json");

// fetch does not tell how much of an upload has gone.
export function upload(file, onShare) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("video", file, file.name);
    request.open("POST", "/v1/videos");
    request.upload.onprogress = (news) => onShare(news.loaded / news.total);
    request.onerror = () => reject(new Problem(0, "The upload was cut off. Try again."));
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch { /* said below */ }
      if (request.status === 201) resolve(answer);
      else reject(new Problem(request.status, answer.detail ?? `The service answered ${request.status}.`));
    };
    request.send(form);
  });
}

export const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
