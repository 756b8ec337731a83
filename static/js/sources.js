/* The list of sources of the create-job page: Enter in its search searches at once instead of starting the run, and
 * [data-no-submit] says which fields that holds for. */
"use strict";
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey) return;
  if (event.target.matches?.("[data-no-submit]")) event.preventDefault();
});
