/* The create-job page beyond htmx; it works without any of this.
 *
 * Drafts, beyond the htmx of _draft_keeper.html: the address names the draft once there is something to keep, so that
 * Back and a reload find it; nothing is saved once the form is on its way, what was typed last is saved when the page
 * is left, and a session that ended costs nothing: the form is sent when somebody has signed in again in another tab.
 * Form: Ctrl+Enter starts; a changed hyperparameter gets a mark and a button that resets it; the fold stays as it was
 * left through swaps; a second click does not start a second run; a form that came back shows its errors first.
 * Swaps: what is focused stays where it is on the screen.
 * Sources: Enter in their search searches at once instead of starting the run ([data-no-submit]). */
"use strict";
(() => {
  const form = document.getElementById("run-form");
  const keeper = document.getElementById("draft-state");
  const signedOut = document.getElementById("signed-out");
  const address = keeper.getAttribute("hx-post");
  const key = form.elements.draft;
  let typed = false;
  let kept = keeper.querySelector("time") !== null;
  let button = null;  // pressed while signed out

  const nameInAddress = () => history.replaceState(history.state, "", `${location.pathname}?draft=${key.value}`);
  if (kept) nameInAddress();
  for (const kind of ["input", "change"]) {
    form.addEventListener(kind, () => {
      if (!typed) nameInAddress();
      typed = true;
    });
  }

  // Who has the draft open already, says so to who opens it now.
  const tabs = new BroadcastChannel("drafts");
  tabs.addEventListener("message", ({ data }) => {
    if (data.key !== key.value) return;
    if (data.asks) {
      tabs.postMessage({ key: key.value });
      return;
    }
    const letters = "abcdefghijklmnopqrstuvwxyz234567";
    key.value = `draft-${[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => letters[byte % 32]).join("")}`;
    nameInAddress();
  });
  tabs.postMessage({ key: key.value, asks: true });

  keeper.addEventListener("htmx:beforeRequest", (event) => {
    if (form.dataset.sent) event.preventDefault();
  });
  keeper.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.successful) return;
    typed = false;
    kept = true;
    if (button) {
      const pressed = button;
      button = null;
      form.requestSubmit(pressed);
    }
  });

  // Before the form is marked as sent, below.
  form.addEventListener("submit", (event) => {
    if (signedOut.hidden) {
      htmx.trigger(keeper, "htmx:abort");
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    button = event.submitter;
    signedOut.querySelector("a").focus();
    htmx.trigger(keeper, "save");
  }, true);

  // Back from the tab where somebody signed in.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !signedOut.hidden) htmx.trigger(keeper, "save");
  });

  function leave() {
    if (form.dataset.sent || !(typed || kept)) return;
    const all = [...new FormData(form)].filter(([, value]) => typeof value === "string");
    const fields = new URLSearchParams(typed ? all : all.filter(([name]) => name === "draft" || name === "csrfmiddlewaretoken"));
    fields.set("left", typed ? "typed" : "unchanged");
    typed = kept = false;
    // Browsers let 64 KiB outlive a page.
    fetch(address, { method: "POST", body: fields, keepalive: fields.toString().length < 60000 }).catch(() => {});
  }
  // The first comes before the next page is asked for, which may be this one again; phones know only the second.
  for (const kind of ["beforeunload", "pagehide"]) addEventListener(kind, leave);
})();

(() => {
  const form = document.getElementById("run-form");
  const start = document.getElementById("start");

  const boxes = (field) => [...field.querySelectorAll("input[type=checkbox]")];
  function valueOf(field) {
    const ticked = boxes(field);
    if (ticked.length === 1) return ticked[0].checked ? "True" : "False";
    if (ticked.length) return ticked.filter((box) => box.checked).map((box) => box.value).join(",");
    return field.querySelector("input, select").value;
  }
  function isChanged(field) {
    const [value, standard] = [valueOf(field), field.dataset.default];
    // 3e-5 and 0.00003 are the same number.
    return value !== standard && !(value.trim() && standard && Number(value) === Number(standard));
  }
  function mark(field) {
    const changed = isChanged(field);
    field.classList.toggle("field-changed", changed);
    field.querySelector("[data-reset]").hidden = !changed;
    const all = document.getElementById("reset-all");
    if (all) all.hidden = !form.querySelector(".field-changed[data-default]");
  }
  const markAll = () => form.querySelectorAll("[data-default]").forEach(mark);

  function reset(field) {
    const standard = field.dataset.default;
    const ticked = boxes(field);
    ticked.forEach((box) => { box.checked = ticked.length === 1 ? standard === "True" : standard.split(",").includes(box.value); });
    const control = ticked[0] || field.querySelector("input, select");
    if (!ticked.length) control.value = standard;
    control.focus();
    control.dispatchEvent(new Event("input", { bubbles: true }));
    control.dispatchEvent(new Event("change", { bubbles: true }));
  }

  form.addEventListener("input", (event) => {
    const field = event.target.closest("[data-default]");
    if (field) mark(field);
  });
  form.addEventListener("click", (event) => {
    const button = event.target.closest("[data-reset]");
    if (button) reset(button.closest("[data-default]"));
  });
  form.addEventListener("toggle", (event) => {
    if (event.target.id === "advanced") document.getElementById("advanced-open").value = event.target.open ? "1" : "0";
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit(start);
    } else if (event.key === "Enter" && !event.isComposing && event.target.matches?.("[data-no-submit]")) {
      event.preventDefault();
    }
  });
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
    start.setAttribute("aria-disabled", "true");
  });
  // Back brings the page as it was left.
  addEventListener("pageshow", () => {
    delete form.dataset.sent;
    start.removeAttribute("aria-disabled");
  });

  markAll();
  document.body.addEventListener("htmx:afterSettle", markAll);

  // A swap may make what stands above longer: what is worked on is held where it was on the screen.
  let held = null;
  document.body.addEventListener("htmx:beforeSwap", () => {
    const { activeElement } = document;
    const { top } = activeElement.getBoundingClientRect();
    held = form.contains(activeElement) && activeElement.id && top >= 0 && top < innerHeight ? { id: activeElement.id, top } : null;
  });
  for (const kind of ["htmx:afterSwap", "htmx:afterSettle"]) {
    document.body.addEventListener(kind, () => {
      const element = held && document.getElementById(held.id);
      if (element) scrollBy(0, element.getBoundingClientRect().top - held.top);
    });
  }
  document.querySelector(".form-errors")?.focus();
})();
