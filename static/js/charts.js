/* Live line charts on Chart.js: <figure data-chart> of templates/_components/chart.html.
 *
 * data-chart-url answers GET ?after=CURSOR with the points after the cursor:
 *   {"series": [{"key": "loss", "label": "…", "points": [[step, value], …]}, …], "cursor": "…", "active": true}
 * While active it is asked again every data-poll-ms, or, with data-follows=ID, whenever htmx has put in a new element of
 * that id: something else asks whether there is news, and one question is enough. Figures with one address share request and zoom;
 * data-metric picks series by key. Drag zooms, shift + drag moves, double click or the button shows everything;
 * on the focused plot: + and -, arrows, 0.
 */
const groups = new Set();
const lang = document.documentElement.lang;
const plain = new Intl.NumberFormat(lang, { maximumSignificantDigits: 5 });
const format = (value) => (value && Math.abs(value) < 1e-3 ? value.toExponential(2) : plain.format(value));
function tick(value, index, ticks) {
  const hidden = this.type === "logarithmic" && !Chart.Ticks.formatters.logarithmic.call(this, value, index, ticks);
  return hidden ? "" : format(value);
}
Chart.defaults.font = { ...Chart.defaults.font, family: getComputedStyle(document.body).fontFamily, size: 11 };

/** Crosshair and the range being dragged. */
const marks = {
  id: "marks",
  afterDraw({ ctx, chartArea: { top, height }, tooltip, $drag: drag, $ink }) {
    ctx.save();
    ctx.fillStyle = $ink;
    if (tooltip?.opacity) ctx.fillRect(tooltip.caretX, top, 1, height);
    ctx.globalAlpha = 0.18;
    if (drag && !drag.pan) ctx.fillRect(drag.from, top, drag.to - drag.from, height);
    ctx.restore();
  },
};

class Figure {
  constructor(root, group) {
    Object.assign(this, { root, group, lines: new Map(), keys: root.dataset.metric.split(",").filter(Boolean) });
    this.plot = root.querySelector(".chart-plot");
    this.summary = root.querySelector("[data-chart-summary]");
    this.title = this.plot.getAttribute("aria-label");
    this.plot.tabIndex = 0;
    const canvas = this.plot.appendChild(document.createElement("canvas"));
    const type = "log" in root.dataset ? "logarithmic" : "linear";
    this.chart = new Chart(canvas, {
      type: "line",
      data: { datasets: [] },
      plugins: [marks],
      options: {
        animation: false, parsing: false, normalized: true, maintainAspectRatio: false, locale: lang,
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: {
          x: { type: "linear", bounds: "data", min: 0, grid: {}, ticks: { maxTicksLimit: 9, maxRotation: 0, precision: 0 } },
          y: { type, grid: {}, ticks: { maxTicksLimit: 6, callback: tick } },
        },
        plugins: {
          legend: { display: false },
          decimation: { enabled: true, algorithm: "min-max" },
          tooltip: {
            boxPadding: 4, borderWidth: 1, usePointStyle: true,
            callbacks: {
              title: ([item]) => item && `${root.dataset.textStep} ${item.parsed.x}`,
              label: (item) => `${item.dataset.label}  ${format(item.parsed.y)}`,
            },
          },
        },
      },
    });
    this.listen(canvas);
    this.draw();
  }

  listen(canvas) {
    const { chart, group, root } = this;
    const x = () => chart.scales.x;
    const change = (factor, shift) => {
      const half = (x().max - x().min) / 2;
      const centre = (x().min + x().max) / 2 + shift * half * 2;
      group.zoom(centre - half * factor, centre + half * factor);
    };
    root.querySelector("[data-chart-reset]").addEventListener("click", () => group.zoom());
    root.querySelector("[data-chart-log]").addEventListener("click", (event) => {
      const { y } = chart.options.scales;
      y.type = y.type === "linear" ? "logarithmic" : "linear";
      event.currentTarget.setAttribute("aria-pressed", y.type !== "linear");
      chart.update();
    });
    canvas.addEventListener("dblclick", () => group.zoom());
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      chart.$drag = { from: event.offsetX, to: event.offsetX, pan: event.shiftKey };
    });
    canvas.addEventListener("pointermove", (event) => {
      const drag = chart.$drag;
      if (!drag) return;
      drag.to = event.offsetX;
      if (!drag.pan) { chart.draw(); return; }
      change(1, (drag.from - drag.to) / chart.chartArea.width);
      drag.from = drag.to;
    });
    const drop = ({ type }) => {
      const { from, to, pan } = chart.$drag || {};
      chart.$drag = null;
      const [min, max] = [from, to].sort((a, b) => a - b).map((pixel) => x().getValueForPixel(pixel));
      if (type === "pointerup" && !pan && Math.abs(to - from) > 6) group.zoom(min, max);
      else chart.draw();
    };
    canvas.addEventListener("pointerup", drop);
    canvas.addEventListener("pointercancel", drop);
    const keys = { "+": [0.7, 0], "=": [0.7, 0], "-": [1.4, 0], ArrowLeft: [1, -0.2], ArrowRight: [1, 0.2], 0: [] };
    this.plot.addEventListener("keydown", (event) => {
      const step = !event.ctrlKey && !event.metaKey && keys[event.key];
      if (!step) return;
      event.preventDefault();
      step.length ? change(...step) : group.zoom();
    });
  }

  add(series) {
    for (const { key, label, points } of series) {
      if ((this.keys.length && !this.keys.includes(key)) || !points.length) continue;
      if (!this.lines.has(key)) this.lines.set(key, { label, data: [] });
      const { data } = this.lines.get(key);
      // A run that goes on from a checkpoint repeats steps; the later values count.
      while (data.length && data.at(-1).x >= points[0][0]) data.pop();
      for (const [x, y] of points) data.push({ x, y });
    }
    this.draw();
  }

  /** Writes the summary (legend and text alternative) and draws with the colours of the style sheet. */
  draw() {
    const { chart, plot, root, summary } = this;
    const lines = [...this.lines.values()];
    if (lines.length) {
      summary.replaceChildren(...lines.map(({ label, data }, at) => {
        const item = document.createElement("span");
        const last = data.at(-1);
        const min = data.reduce((least, { y }) => Math.min(least, y), Infinity);
        const values = { label, last: format(last.y), step: last.x, min: format(min) };
        item.className = `chart-key chart-key-${(at % 4) + 1}`;
        item.textContent = root.dataset.textSummary.replace(/{(\w+)}/g, (_, name) => values[name]);
        return item;
      }));
      plot.setAttribute("aria-label", `${this.title}. ${summary.innerText}`);
    }
    const { color, borderTopColor, backgroundColor } = getComputedStyle(plot);
    const { scales, plugins } = chart.options;
    chart.$ink = color;
    for (const axis of [scales.x, scales.y]) {
      axis.ticks.color = color;
      axis.grid.color = axis.border.color = borderTopColor;
    }
    Object.assign(plugins.tooltip, { backgroundColor, borderColor: color, titleColor: color });
    plugins.tooltip.bodyColor = getComputedStyle(root).color;
    chart.data.datasets = lines.map(({ label, data }, at) => {
      const tint = getComputedStyle(summary.children[at], "::before").backgroundColor;
      return { label, data, borderColor: tint, backgroundColor: tint, borderWidth: 1.5,
        pointRadius: data.length < 60 ? 2 : 0, pointHoverRadius: 4, pointStyle: "circle" };
    });
    chart.update("none");
  }
}

class Group {
  constructor(url, pause, follows) {
    Object.assign(this, { url, pause, follows, figures: [], cursor: "" });
  }

  zoom(min, max) {
    const range = { min: Math.max(0, Math.floor(min ?? 0)), max: max && Math.ceil(max) };
    for (const { chart } of this.figures) {
      Object.assign(chart.options.scales.x, range);
      chart.update("none");
    }
  }

  /** Asks for what is new; whoever asks meanwhile is answered by one more question behind it. */
  async poll() {
    if (this.asking) {
      this.asksAgain = true;
      return;
    }
    this.asking = true;
    await this.ask();
    this.asking = false;
    if (!this.asksAgain) return;
    this.asksAgain = false;
    this.poll();
  }

  async ask() {
    this.figures = this.figures.filter(({ root, chart }) => root.isConnected || chart.destroy());
    if (!this.figures.length) {
      groups.delete(this);
      return;
    }
    let active = true;
    if (!document.hidden) {
      const url = new URL(this.url, location.href);
      if (this.cursor) url.searchParams.set("after", this.cursor);
      // A request that failed is no end: the next round asks for the same part again.
      const answer = await fetch(url).catch(() => null);
      if (answer?.ok) {
        const news = await answer.json();
        ({ cursor: this.cursor, active } = news);
        this.figures.forEach((figure) => figure.add(news.series));
      } else if (answer?.status < 500) active = false;
    }
    if (!active) this.follows = "";
    else if (this.pause && !this.follows) setTimeout(() => this.poll(), this.pause);
  }
}

function start(root) {
  // Figures that arrive later (htmx) need the whole history: they form groups of their own.
  const fresh = new Map();
  for (const figure of [root, ...root.querySelectorAll("[data-chart]")]) {
    const { chartUrl: url, pollMs, follows } = figure.dataset || {};
    if (!url || figure.querySelector("canvas")) continue;
    if (!fresh.has(url)) fresh.set(url, new Group(url, Number(pollMs), follows));
    fresh.get(url).figures.push(new Figure(figure, fresh.get(url)));
  }
  fresh.forEach((group) => { groups.add(group); group.poll(); });
}
start(document);
document.body.addEventListener("htmx:load", ({ detail: { elt } }) => {
  start(elt);
  groups.forEach((group) => { if (elt.id && elt.id === group.follows) group.poll(); });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  groups.forEach(({ figures }) => figures.forEach((figure) => figure.draw()));
});
