/* Live character count: <output data-count="ID of the textarea" data-max="500">0/500</output>.
 * Counts Unicode code points like Python's len(), so that an emoji is one character on both sides. */
function show(output) {
  const area = document.getElementById(output.dataset.count);
  if (!area) return;
  const length = [...area.value].length;
  output.textContent = `${length}/${output.dataset.max}`;
  output.classList.toggle("is-over", length > Number(output.dataset.max));
}
document.addEventListener("input", (event) => {
  if (event.target.id) document.querySelectorAll(`[data-count="${CSS.escape(event.target.id)}"]`).forEach(show);
});
const showAll = (root) => root.querySelectorAll("[data-count]").forEach(show);
showAll(document);
document.body.addEventListener("htmx:load", (event) => showAll(event.detail.elt));
