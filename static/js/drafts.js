/* Drafts of the create-job page beyond the htmx of _draft_keeper.html: nothing is saved once the form is on its way,
 * what was typed last is saved when the page is left, and a session that ended costs nothing: the form is sent when
 * somebody has signed in again in another tab. */
"use strict";
(() => {
  const form = document.getElementById("run-form");
  const keeper = document.getElementById("draft-state");
  const signedOut = document.getElementById("signed-out");
  const address = keeper.getAttribute("hx-post");
  let typed = false;
  let button = null;  // pressed while signed out

  for (const kind of ["input", "change"]) form.addEventListener(kind, () => { typed = true; });

  keeper.addEventListener("htmx:beforeRequest", (event) => {
    if (form.dataset.sent) event.preventDefault();
  });
  keeper.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.successful) return;
    typed = false;
    if (button) {
      const pressed = button;
      button = null;
      form.requestSubmit(pressed);
    }
  });

  // Before wizard.js marks the form as sent.
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

  addEventListener("pagehide", () => {
    if (!typed || form.dataset.sent) return;
    const fields = new URLSearchParams([...new FormData(form)].filter(([, value]) => typeof value === "string"));
    // Browsers let 64 KiB outlive a page.
    fetch(address, { method: "POST", body: fields, keepalive: fields.toString().length < 60000 }).catch(() => {});
  });
})();
