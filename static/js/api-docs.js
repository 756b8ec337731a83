/* Swagger UI in the page that describes the own API: no address but ours, the session's CSRF token on each call. */
const box = document.getElementById("api-docs");
// Swagger UI's own dark colours, by what the page shows.
const system = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const show = () => root.classList.toggle("dark-mode", (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark");
show();
system.addEventListener("change", show);
window.SwaggerUIBundle({
  url: box.dataset.description,
  domNode: box,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    request.headers["X-CSRFToken"] = box.dataset.csrf;
    request.headers["Accept-Language"] = document.documentElement.lang;
    return request;
  },
});
