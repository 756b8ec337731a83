/* What the console's pages do beyond HTML and htmx. Everything here is an addition: pages work without it.
 *
 * data-menu          <details> that closes on a click elsewhere and on Escape
 * data-dialog=ID     opens <dialog id=ID>; data-dialog-close closes the one it stands in
 * data-copy=TEXT     copies; data-copy-from=ID copies that element's text
 * data-relative      <time datetime> shown as "3 minutes ago", the absolute time in the title
 * data-dropzone      file input whose chosen names are shown in [data-dropzone-files]
 * data-key=X         the key X (outside of text fields) focuses or clicks the element
 * data-autosubmit    a select or checkbox that sends its form when it changes
 * data-follow        a log box that stays at its end while more arrives, unless someone scrolled up
 * data-count=ID      <output data-max=500> that counts the characters of the text field ID while somebody types
 * data-quiet         a poll whose failures are told to nobody, and that asks at once when the page is looked at again
 * .section-index     marks the section in view
 * Texts come from data-text-* on <body>, so that they are in the page's language.
 */
const body = document.body;
const each = (root, selector, fn) => {
  if (root.matches?.(selector)) fn(root);
  root.querySelectorAll(selector).forEach(fn);
};

// ---- toasts
const toasts = document.getElementById("toasts");
function armToast(toast) {
  if (toast.dataset.toast === "armed") return;
  toast.dataset.toast = "armed";
  const lasting = toast.matches(".toast-error, .toast-warning");
  if (!lasting) setTimeout(() => toast.remove(), 7000);
}
function toast(text, origin) {
  if (!text || [...toasts.children].some((item) => item.textContent.trim() === text)) return;
  const item = document.getElementById("toast-template").content.firstElementChild.cloneNode(true);
  item.querySelector("div").textContent = text;
  item.dataset.origin = origin;
  toasts.append(item);
  armToast(item);
}

// ---- htmx: progress line, errors
let pending = 0;
const bar = document.getElementById("htmx-bar");
const signedOut = document.getElementById("signed-out");
const isPoll = (event) => (event.detail.elt?.getAttribute("hx-trigger") || "").includes("every");
const isQuiet = (event) => Boolean(event.detail.elt?.matches?.("[data-quiet]"));
body.addEventListener("htmx:beforeRequest", (event) => {
  // A page that nobody looks at asks for nothing; it asks again within seconds of being looked at.
  if (isPoll(event) && document.hidden) event.preventDefault();
  if (!isPoll(event)) bar.classList.toggle("is-active", ++pending > 0);
});
body.addEventListener("htmx:afterRequest", (event) => {
  if (!isPoll(event)) bar.classList.toggle("is-active", (pending = Math.max(0, pending - 1)) > 0);
  if (!event.detail.successful) return;
  toasts.querySelectorAll("[data-origin=network]").forEach((item) => item.remove());
  if (signedOut) signedOut.hidden = true;
});
const unreachable = (event) => { if (!isQuiet(event)) toast(body.dataset.textNetwork, "network"); };
body.addEventListener("htmx:sendError", unreachable);
body.addEventListener("htmx:timeout", unreachable);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) document.querySelectorAll("[data-quiet]").forEach((poll) => { poll.dispatchEvent(new CustomEvent("look")); });
});
body.addEventListener("htmx:responseError", (event) => {
  if (isQuiet(event)) return;
  const status = event.detail.xhr.status;
  if (status === 401) {
    // The session ended. A page with typed text keeps it and says so; others lead to the sign-in page.
    if (signedOut) signedOut.hidden = false;
    else location.reload();
    return;
  }
  const kind = status === 404 ? "textMissing" : status === 403 ? "textDenied" : "textServer";
  toast(body.dataset[kind], "response");
});

// ---- signing in again in another tab gives the browser a new token; pages that are open still hold the old one
function renewToken() {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];
  if (token) document.querySelectorAll("input[name=csrfmiddlewaretoken]").forEach((input) => { input.value = token; });
  return token;
}
body.addEventListener("htmx:configRequest", ({ detail }) => {
  const token = renewToken();
  if (!token) return;
  detail.headers["x-csrftoken"] = token;
  if (detail.formData.has("csrfmiddlewaretoken")) detail.formData.set("csrfmiddlewaretoken", token);
});
document.addEventListener("submit", renewToken, true);

// ---- clicks
function closeMenus(except) {
  document.querySelectorAll("details[data-menu][open]").forEach((menu) => {
    if (menu !== except) menu.open = false;
  });
}
async function copy(button) {
  const from = button.dataset.copyFrom;
  const text = from ? document.getElementById(from).textContent : button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http has no clipboard API.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.classList.add("is-done");
  const label = button.querySelector(".visually-hidden") || button;
  const before = label.textContent;
  if (before !== body.dataset.textCopied) {
    label.textContent = body.dataset.textCopied;
    setTimeout(() => { label.textContent = before; button.classList.remove("is-done"); }, 1500);
  }
}
document.addEventListener("click", (event) => {
  const target = event.target.closest?.("[data-dialog], [data-dialog-close], [data-copy], [data-copy-from], [data-toast-close]");
  closeMenus(event.target.closest?.("details[data-menu]"));
  if (!target) return;
  if (target.dataset.dialog) {
    const dialog = document.getElementById(target.dataset.dialog);
    // A browser that knows invoker commands opens it by itself.
    if (!target.commandForElement && !dialog.open) dialog.showModal();
  } else if ("dialogClose" in target.dataset) {
    target.closest("dialog").close();
  } else if ("toastClose" in target.dataset) {
    target.closest("[data-toast]").remove();
  } else {
    copy(target);
  }
});

// ---- keys
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const menu = document.querySelector("details[data-menu][open]");
    closeMenus();
    menu?.querySelector("summary").focus();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, select, textarea, dialog, [contenteditable]")) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!target) return;
  event.preventDefault();
  target.matches("input, select, textarea") ? target.focus() : target.click();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-autosubmit]")) event.target.form.requestSubmit();
  const zone = event.target.closest("[data-dropzone]");
  if (zone && event.target.files.length) {
    zone.querySelector("[data-dropzone-files]").textContent = [...event.target.files].map((file) => file.name).join(", ");
  }
});
for (const [type, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(type, (event) => {
    event.target.closest?.("[data-dropzone]")?.classList.toggle("is-over", over);
  });
}

// ---- times
const units = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
function showTime(element) {
  if (!element.title) element.title = element.textContent.trim();
  const seconds = (Date.parse(element.dateTime) - Date.now()) / 1000;
  // Older than a week: the date says more than "3 weeks ago".
  if (Math.abs(seconds) > 604800) { element.textContent = element.title; return; }
  const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= length) || units[5];
  element.textContent = relative.format(Math.trunc(seconds / size), unit);
}
setInterval(() => each(document, "time[data-relative]", showTime), 20000);

// ---- logs: appended parts come through htmx or charts.js; watching the box covers both
function follow(box) {
  let atEnd = true;
  box.scrollTop = box.scrollHeight;
  box.addEventListener("scroll", () => { atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24; });
  new MutationObserver(() => { if (atEnd) box.scrollTop = box.scrollHeight; })
    .observe(box, { childList: true, subtree: true, characterData: true });
}

// ---- character counts, in Unicode code points like Python's len(): an emoji is one character on both sides
function count(output) {
  const area = document.getElementById(output.dataset.count);
  if (!area) return;
  const length = [...area.value].length;
  output.textContent = `${length}/${output.dataset.max}`;
  output.classList.toggle("is-over", length > Number(output.dataset.max));
}
document.addEventListener("input", (event) => {
  if (event.target.id) each(document, `[data-count="${CSS.escape(event.target.id)}"]`, count);
});

// ---- section index of long forms
function watchSections(index) {
  const links = [...index.querySelectorAll("a[href^='#']")];
  const sections = links.map((link) => document.getElementById(link.hash.slice(1)));
  const mark = () => {
    const line = innerHeight * 0.3;
    let current = sections.findLastIndex((section) => section && section.getBoundingClientRect().top <= line);
    if (scrollY + innerHeight >= document.documentElement.scrollHeight - 4) current = sections.length - 1;
    links.forEach((link, at) => {
      at === Math.max(0, current) ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    });
  };
  addEventListener("scroll", mark, { passive: true });
  mark();
}

function enhance(root) {
  each(root, "time[data-relative]", showTime);
  each(root, "[data-toast]:not(template *)", armToast);
  each(root, "[data-follow]", follow);
  each(root, "[data-count]", count);
  each(root, ".section-index", watchSections);
}
enhance(document);
body.addEventListener("htmx:load", (event) => { if (event.detail.elt !== body) enhance(event.detail.elt); });
