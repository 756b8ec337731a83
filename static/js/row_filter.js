/* The filter of templates/datasets/rows.html: htmx exchanges only what was found, so that fields whose errors came or
 * went with it are told here. An error's id is that of its field with _error behind it, as Django has it.
 */
const form = document.getElementById("row-filter");

document.body.addEventListener("htmx:afterSettle", () => {
  for (const field of form.elements) {
    const error = field.id && document.getElementById(`${field.id}_error`);
    if (error) {
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", error.id);
    } else {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    }
  }
});
