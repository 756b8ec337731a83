/* The page on which models are tried out (templates/models/chat.html): asks one side or both, each with what was said
 * there so far, and shows the answers as they come. Leaving or Stop closes the connection, which ends the generation.
 */
const form = document.querySelector("[data-try]");
const texts = form.dataset;
const message = form.elements.message;
const send = form.querySelector("[data-send]");
const stop = form.querySelector("[data-stop]");
const compare = form.querySelector("[data-compare]");
const sides = [...form.querySelectorAll("[data-side]")].map((root) => ({
  root, name: root.dataset.side, log: root.querySelector("[data-log]"), state: root.querySelector("[data-state]"), turns: [],
}));
let running = null;

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_all, name) => values[name]);
const token = () => document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] || form.elements.csrfmiddlewaretoken.value;

function bubble(log, kind, text) {
  const item = document.createElement("p");
  item.className = `is-${kind}`;
  item.textContent = text;
  log.append(item);
  log.scrollTop = log.scrollHeight;
  return item;
}

/** The events of a stream, decoded; lines that begin with a colon only keep it open. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
  }
}

function showErrors(errors) {
  form.querySelectorAll("[data-try-error]").forEach((item) => item.remove());
  form.querySelectorAll("[aria-invalid]").forEach((item) => {
    item.removeAttribute("aria-invalid");
    item.removeAttribute("aria-describedby");
  });
  let first;
  for (const [name, list] of Object.entries(errors)) {
    const field = form.elements[name];
    const place = form.querySelector(`[data-field="${CSS.escape(name)}"] .field-control`);
    if (!field || !place) continue;
    const item = document.createElement("span");
    Object.assign(item, { className: "field-error", id: `${name}-error`, textContent: list.join(" ") });
    item.dataset.tryError = "";
    place.append(item);
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", item.id);
    const fold = field.closest("details");
    if (fold) fold.open = true;
    first ??= field;
  }
  first?.focus();
}

async function ask(side, text, signal) {
  const turns = [...side.turns, { role: "user", content: text }];
  const body = new FormData(form);
  body.delete("message");
  body.set("messages", JSON.stringify(turns));
  body.set("side", side.name);
  const began = performance.now();
  let answer, item, first, ended;
  side.state.textContent = texts.textLoading;
  try {
    const response = await fetch(form.action, { method: "POST", body, signal, headers: { "x-csrftoken": token() } });
    if (response.status === 422) return { errors: (await response.json()).errors };
    if (!response.ok) throw new Error(response.status);
    bubble(side.log, "user", text);
    item = bubble(side.log, "assistant", "");
    side.log.setAttribute("aria-busy", "true");
    answer = "";
    for await (const said of events(response)) {
      if (said.type === "delta") {
        first ??= performance.now();
        answer += said.text;
        item.textContent = answer;
        side.log.scrollTop = side.log.scrollHeight;
        side.state.textContent = "";
      } else if (said.type === "progress") {
        side.state.textContent = filled(texts.textStep, said);
      } else if (said.type === "picture") {
        const picture = document.createElement("img");
        picture.src = `data:image/png;base64,${said.text}`;
        picture.alt = text;
        item.replaceChildren(picture);
      } else if (said.type === "refused") {
        ended = said;
        item.classList.add("is-error");
        item.textContent = said.text;
        side.state.textContent = "";
      } else if (said.type === "done") {
        ended = said;
        side.state.textContent = summary(said, began, first);
      }
    }
    if (!ended) throw new Error("broken");
    if (ended.type === "done") side.turns = [...turns, { role: "assistant", content: answer }];
  } catch (error) {
    side.state.textContent = error.name === "AbortError" ? texts.textStopped : texts.textBroken;
    if (answer) side.turns = [...turns, { role: "assistant", content: answer }];
  } finally {
    side.log.removeAttribute("aria-busy");
    side.log.scrollTop = side.log.scrollHeight;
  }
  return {};
}

function summary(said, began, first) {
  const now = performance.now();
  if (!said.completion_tokens) return filled(texts.textDrawn, { seconds: ((now - began) / 1000).toFixed(1) });
  const spent = Math.max(now - (first ?? began), 1) / 1000;
  const figures = filled(texts.textFigures, {
    tokens: said.completion_tokens,
    first: (((first ?? now) - began) / 1000).toFixed(2),
    speed: (said.completion_tokens / spent).toFixed(1),
  });
  return said.finish_reason === "length" ? `${figures} · ${texts.textLength}` : figures;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = message.value;
  if (running) return;
  running = new AbortController();
  send.disabled = true;
  stop.disabled = false;
  showErrors({});
  const asked = sides.filter((side) => side.name === "own" || compare?.checked);
  const results = await Promise.all(asked.map((side) => ask(side, text, running.signal)));
  running = null;
  send.disabled = false;
  stop.disabled = true;
  const errors = results.find((result) => result.errors)?.errors;
  if (errors) {
    asked.forEach((side) => { side.state.textContent = ""; });
    showErrors(errors);
    return;
  }
  if (!form.querySelector(".is-error:last-child")) message.value = "";
  message.focus();
});
message.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
stop.addEventListener("click", () => running?.abort());
form.querySelector("[data-clear]").addEventListener("click", () => {
  running?.abort();
  for (const side of sides) {
    side.turns = [];
    side.log.replaceChildren();
    side.state.textContent = "";
  }
  message.focus();
});
