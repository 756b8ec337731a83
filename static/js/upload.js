/* Shows how much of the files of <form data-upload> has been sent, in its [data-upload-progress].
 * Without files nothing is shown; the form works without this script. */
const hasFiles = (form) => [...form.querySelectorAll("input[type=file]")].some((input) => input.files.length);

document.body.addEventListener("htmx:xhr:progress", (event) => {
  const form = event.target.closest?.("form[data-upload]");
  const box = form?.querySelector("[data-upload-progress]");
  if (!box || !event.detail.lengthComputable || !hasFiles(form)) return;
  const percent = Math.floor((100 * event.detail.loaded) / event.detail.total);
  box.hidden = false;
  box.querySelector("progress").value = percent;
  box.querySelector("[data-upload-percent]").textContent = `${percent}%`;
});
document.body.addEventListener("htmx:afterRequest", (event) => {
  const box = event.target.closest?.("form[data-upload]")?.querySelector("[data-upload-progress]");
  if (box && !event.detail.successful) box.hidden = true;
});
