/* Sends the files of <form data-upload> in pieces, with progress, so that gigabytes survive a lost connection and a
 * reload: what the server has is asked first, and only the rest is sent. The form works without this script.
 *
 * data-upload=ADDRESS   takes announcements (datasets/views/uploads.py); "" on the form of a new dataset, whose first
 *                       version has the address once the form was sent
 * [data-upload-zone]    holds the file input; files may also be dropped anywhere on the page, shown by [data-drop-target]
 * [data-upload-files]   lists the chosen files, one <template data-upload-file> each
 * [data-upload-progress] shows how far it is; its data-text-* are the sentences
 */
const KB = 1024, MB = 1024 * KB;
const SMALLEST = 256 * KB, FIRST = MB, LARGEST = 16 * MB;
// A piece should take about so long: lost ones cost little, and few requests are needed.
const PIECE_SECONDS = 3;
const STALLED_MS = 120_000;
// After a network error; then it is up to the person to go on.
const WAITS = [1, 2, 4, 8, 15, 30, 30];
const SPEED_MS = 15_000, SHOW_MS = 200, SPEAK_MS = 5_000;
const language = document.documentElement.lang;

class Refused extends Error {}
class Lost extends Error {}
class SignedOut extends Error {}
class Stopped extends Error {}

const unit = (value, name, digits = 0) =>
  new Intl.NumberFormat(language, { style: "unit", unit: name, maximumFractionDigits: digits }).format(value);
function bytes(value) {
  if (value < KB) return unit(value, "byte");
  const [name, size] = value >= 1000 * MB ? ["gigabyte", KB * MB] : value >= MB ? ["megabyte", MB] : ["kilobyte", KB];
  return unit(value / size, name, name === "gigabyte" ? 2 : name === "megabyte" ? 1 : 0);
}
function duration(seconds) {
  if (seconds < 60) return unit(Math.max(1, Math.ceil(seconds)), "second");
  return seconds < 5400 ? unit(Math.ceil(seconds / 60), "minute") : unit(seconds / 3600, "hour", 1);
}
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_match, name) => values[name]);
// Signing in again in another tab renews the cookie, not the field.
const token = (form) =>
  document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] || form.querySelector("[name=csrfmiddlewaretoken]").value;

function verdict(status, text) {
  let data = null;
  try { data = JSON.parse(text); } catch { /* A page: of a proxy, or of an error. */ }
  if (status >= 200 && status < 300 && data) return data;
  if (status === 409 && data) return data;
  if (status === 401) throw new SignedOut();
  if (status >= 400 && status < 500 && status !== 408 && status !== 429) throw new Refused(data?.error || "");
  throw new Lost();
}

// What is being sent, and the last transfer of each form: it may be gone on with.
let current = null;
const transfers = new WeakMap();

class Transfer {
  constructor(form) {
    this.form = form;
    this.box = form.querySelector("[data-upload-progress]");
    this.text = this.box.dataset;
    this.input = form.querySelector("input[type=file]");
    this.items = [...this.input.files].map((file) => ({ file, sent: 0, received: 0, url: "", error: "" }));
    this.total = this.items.reduce((sum, item) => sum + item.file.size, 0);
    this.piece = FIRST;
    this.samples = [];
    this.shownAt = this.spokenAt = 0;
    this.frozen = [];
  }

  // ---- requests

  async ask(address, data = {}) {
    let response;
    try {
      response = await fetch(address, {
        method: "POST", redirect: "manual", body: new URLSearchParams(data), signal: this.control.signal,
        headers: { Accept: "application/json", "X-CSRFToken": token(this.form) },
      });
    } catch {
      this.check();
      throw new Lost();
    }
    if (response.type === "opaqueredirect") throw new SignedOut();
    return verdict(response.status, await response.text());
  }

  send(item, blob) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const address = `${item.url}?offset=${item.received}`;
      request.open("POST", address);
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.setRequestHeader("X-CSRFToken", token(this.form));
      request.timeout = STALLED_MS;
      request.upload.onprogress = (event) => { item.sent = item.received + event.loaded; this.show(); };
      request.onload = () => {
        // A session that ended leads to the sign-in page.
        if (request.responseURL && !request.responseURL.endsWith(address)) { reject(new SignedOut()); return; }
        try { resolve(verdict(request.status, request.responseText)); } catch (error) { reject(error); }
      };
      // A file that was changed or moved since it was chosen fails like a line that breaks, and is told by its bytes.
      request.onerror = () => blob.slice(0, 1).arrayBuffer().then(
        () => reject(new Lost()), () => reject(new Refused(this.text.textChanged)));
      request.ontimeout = () => reject(new Lost());
      request.onabort = () => reject(new Stopped());
      this.control.signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(blob);
    });
  }

  check() {
    if (this.control.signal.aborted) throw new Stopped();
  }

  /** Carries out an action; after a network error again, when the browser is back online at once. */
  async persist(action) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await action(() => { attempt = -1; });
      } catch (error) {
        if (!(error instanceof Lost) || attempt >= WAITS.length) throw error;
        const seconds = WAITS[attempt];
        this.state("waiting", fill(this.text.textWaiting, { time: duration(seconds) }));
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, seconds * 1000);
          for (const [target, name] of [[window, "online"], [this.control.signal, "abort"]]) {
            target.addEventListener(name, () => { clearTimeout(timer); resolve(); }, { once: true });
          }
        });
        this.check();
      }
    }
  }

  // ---- the way of the files

  async run() {
    this.control = new AbortController();
    this.samples = [];
    current = this;
    transfers.set(this.form, this);
    this.freeze(true);
    this.state("sending", this.text.textSending);
    try {
      if (!(await this.target())) return;
      await this.announce();
      for (const item of this.items) await this.sendAll(item);
      this.state("sending", this.text.textStarting);
      const answer = await this.persist(() => this.ask(`${this.form.dataset.upload}import/`, { format: this.form.elements.format?.value || "" }));
      current = null;
      location.assign(answer.url);
    } catch (error) {
      this.stop(error);
    }
  }

  /** The address for announcements; of a new dataset after it was made. False where its form came back with errors. */
  async target() {
    if (this.form.dataset.upload) return true;
    const data = new FormData(this.form);
    data.delete(this.input.name);
    const response = await this.persist(async () => {
      try {
        return await fetch(this.form.action, {
          method: "POST", body: data, redirect: "manual", signal: this.control.signal,
          headers: { "HX-Request": "true", "X-CSRFToken": token(this.form) },
        });
      } catch {
        this.check();
        // It may have arrived: made twice, the name would be taken.
        throw new Refused(this.text.textLost);
      }
    });
    const address = response.headers.get("HX-Redirect");
    if (address) {
      this.form.dataset.upload = `${address}uploads/`;
      // A reload leads to the version, which lists what has arrived.
      history.replaceState(null, "", address);
      return true;
    }
    if (response.status === 401) throw new SignedOut();
    if (response.status !== 422) throw new Refused();
    current = null;
    this.freeze(false);
    this.box.hidden = true;
    window.htmx.swap(this.form, await response.text(), { swapStyle: "outerHTML" });
    return false;
  }

  /** Tells the server of every file first: what it does not accept is known before anything is sent. */
  async announce() {
    for (const item of this.items) {
      const { name, size, lastModified } = item.file;
      try {
        const answer = await this.persist(() => this.ask(this.form.dataset.upload, { name, size, modified: lastModified }));
        Object.assign(item, { url: answer.url, received: answer.received, sent: answer.received, error: "" });
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        item.error = error.message || this.text.textFailed;
      }
    }
    this.show(true);
    if (this.items.some((item) => item.error)) throw new Refused(this.text.textRefused);
  }

  async sendAll(item) {
    await this.persist(async (progressed) => {
      while (item.received < item.file.size) {
        this.check();
        const started = performance.now();
        const blob = item.file.slice(item.received, item.received + this.piece);
        const answer = await this.send(item, blob).finally(() => { item.sent = item.received; });
        const fits = answer.received === item.received + blob.size;
        item.received = item.sent = answer.received;
        // Another tab may send the same file; whoever is behind goes on from there, but not for ever.
        if (!fits) throw new Lost();
        progressed();
        const rate = blob.size / Math.max(0.05, (performance.now() - started) / 1000);
        this.piece = Math.round(Math.min(LARGEST, Math.max(SMALLEST, rate * PIECE_SECONDS)));
        this.state("sending", this.text.textSending);
      }
    });
  }

  // ---- ends

  pause() {
    this.control.abort();
  }

  stop(error) {
    current = null;
    const text = error instanceof Stopped ? this.text.textPaused
      : error instanceof SignedOut ? this.text.textSignedOut
      : error instanceof Lost ? this.text.textLost
      : error instanceof Refused ? error.message || this.text.textFailed
      : this.text.textFailed;
    if (!(error instanceof Stopped || error instanceof SignedOut || error instanceof Lost || error instanceof Refused)) console.error(error);
    this.state(error instanceof Stopped ? "paused" : "failed", text);
    // Files that were refused can be taken out of the list.
    if (error instanceof Refused) this.freeze(false);
  }

  async cancel() {
    this.control.abort();
    const begun = this.items.filter((item) => item.url);
    this.control = new AbortController();
    await Promise.allSettled(begun.map((item) => this.ask(`${item.url}discard/`)));
    current = null;
    if (this.form.matches("#create-form") && this.form.dataset.upload) {
      location.assign(this.form.dataset.upload.replace(/uploads\/$/, ""));
      return;
    }
    this.freeze(false);
    this.box.hidden = true;
    this.input.value = "";
    list(this.form);
    this.input.focus();
  }

  // ---- what is seen and heard

  /** While files are sent, nothing else of the form can be changed. */
  freeze(on) {
    if (on && !this.frozen.length) {
      this.frozen = [...this.form.children].filter((part) => !part.contains(this.box) && !part.inert);
    }
    for (const part of this.frozen) part.inert = on;
    if (!on) this.frozen = [];
    this.form.classList.toggle("is-sending", on);
  }

  state(name, text) {
    this.box.hidden = false;
    const changed = this.box.dataset.state !== name;
    this.box.dataset.state = name;
    this.box.querySelector("[data-upload-state]").textContent = text;
    this.box.querySelector("[data-upload-pause]").hidden = name !== "sending" && name !== "waiting";
    this.box.querySelector("[data-upload-continue]").hidden = name !== "paused" && name !== "failed";
    this.box.querySelector(".progress").className =
      `progress${name === "failed" ? " progress-failed" : name === "sending" ? "" : " progress-stopped"}`;
    if (changed && name !== "sending") this.speak(text, true);
    this.show(true);
  }

  speak(text, now = false) {
    if (!now && performance.now() - this.spokenAt < SPEAK_MS) return;
    this.spokenAt = performance.now();
    this.box.querySelector("[data-upload-status]").textContent = text;
  }

  show(now = false) {
    const at = performance.now();
    if (!now && at - this.shownAt < SHOW_MS) return;
    this.shownAt = at;
    const sent = this.items.reduce((sum, item) => sum + item.sent, 0);
    this.samples.push([at, sent]);
    while (this.samples.length > 2 && at - this.samples[0][0] > SPEED_MS) this.samples.shift();
    const [since, before] = this.samples[0];
    const speed = at - since > 1000 ? Math.max(0, (1000 * (sent - before)) / (at - since)) : 0;
    const percent = this.total ? Math.floor((100 * sent) / this.total) : 0;
    const values = { sent: bytes(sent), total: bytes(this.total), percent };
    const parts = [fill(this.text.textAmount, values)];
    if (speed && this.box.dataset.state === "sending") {
      parts.push(fill(this.text.textSpeed, { speed: bytes(speed) }), fill(this.text.textLeft, { time: duration((this.total - sent) / speed) }));
    }
    this.box.querySelector("[data-upload-figures]").textContent = parts.join(" · ");
    this.box.querySelector("progress").value = percent;
    const rows = this.form.querySelectorAll("[data-upload-files] > li");
    this.items.forEach((item, number) => {
      const row = rows[number];
      if (!row) return;
      const bar = row.querySelector("progress");
      bar.hidden = false;
      bar.value = item.file.size ? (100 * item.sent) / item.file.size : 0;
      row.querySelector("[data-error]").textContent = item.error;
      row.querySelector("[data-error]").hidden = !item.error;
    });
    if (this.box.dataset.state === "sending") this.speak(fill(this.text.textSpoken, values));
  }
}

// ---- the chosen files

function choose(input, files) {
  const transfer = new DataTransfer();
  for (const file of files) transfer.items.add(file);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

function list(form) {
  const box = form.querySelector("[data-upload-files]"), template = form.querySelector("[data-upload-file]");
  const input = form.querySelector("input[type=file]");
  if (!box || !input) return;
  box.replaceChildren(...[...input.files].map((file, number) => {
    const row = template.content.firstElementChild.cloneNode(true);
    row.querySelector("[data-name]").textContent = file.name;
    row.querySelector("[data-size]").textContent = bytes(file.size);
    row.querySelector("progress").setAttribute("aria-label", file.name);
    const remove = row.querySelector("[data-remove]");
    remove.querySelector(".visually-hidden").textContent = ` ${file.name}`;
    remove.addEventListener("click", () => {
      form.querySelector("[data-upload-progress]").hidden = true;
      choose(input, [...input.files].filter((_file, other) => other !== number));
      (form.querySelectorAll("[data-remove]")[Math.min(number, input.files.length - 1)] || input).focus();
    });
    return row;
  }));
}

document.addEventListener("change", (event) => {
  const form = event.target.closest?.("form[data-upload]");
  if (form && event.target.type === "file") list(form);
});
document.body.addEventListener("htmx:load", () => document.querySelectorAll("form[data-upload]").forEach(list));
// A browser may keep the chosen files over a reload.
document.querySelectorAll("form[data-upload]").forEach(list);

// Before htmx, which listens on the form itself.
document.addEventListener("submit", (event) => {
  const form = event.target.closest?.("form[data-upload]");
  if (!form?.querySelector("input[type=file]").files.length) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!current) new Transfer(form).run();
}, true);

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-upload-pause], [data-upload-continue], [data-upload-cancel]");
  const transfer = button && transfers.get(button.closest("form"));
  if (!transfer) return;
  if ("uploadPause" in button.dataset) transfer.pause();
  else if ("uploadContinue" in button.dataset) transfer.run();
  else transfer.cancel();
});

addEventListener("beforeunload", (event) => { if (current) event.preventDefault(); });

// ---- dropping: anywhere on the page

const holdsFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
const openForm = () => (current ? null : document.querySelector("form[data-upload]:not(.is-sending)"));
let leaving = 0;
function target(shown) {
  const form = document.querySelector("form[data-upload]");
  form?.querySelector("[data-drop-target]").toggleAttribute("hidden", !shown);
  form?.querySelector("[data-upload-zone]").classList.toggle("is-over", shown);
}
document.addEventListener("dragover", (event) => {
  if (!holdsFiles(event) || !openForm()) return;
  event.preventDefault();
  target(true);
  // dragleave comes for every element that is passed; dragover stops when the files are gone.
  clearTimeout(leaving);
  leaving = setTimeout(() => target(false), 250);
});
document.addEventListener("drop", (event) => {
  const form = openForm();
  if (!holdsFiles(event) || !form) return;
  event.preventDefault();
  target(false);
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const folder = items.some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  const dropped = items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory).map((item) => item.getAsFile()).filter(Boolean);
  const input = form.querySelector("input[type=file]");
  const known = [...input.files].filter((file) => !dropped.some((other) => other.name === file.name));
  choose(input, [...known, ...dropped]);
  const note = form.querySelector("[data-upload-note]");
  note.textContent = folder ? note.dataset.textFolder : "";
  form.querySelector("[data-upload-zone]").scrollIntoView({ block: "nearest" });
});
