/* Histograms on Chart.js: <figure data-histogram> of templates/datasets/_statistics_histogram.html.
 * The bars are read from the rows of the figure's table, which is what people without the picture get;
 * data-mark is a value that a line marks, data-mark-label what it means.
 */
const lang = document.documentElement.lang;
const whole = new Intl.NumberFormat(lang);
const short = new Intl.NumberFormat(lang, { notation: "compact" });
const drawn = new Set();

/** The line at data-mark: between the bars' edges, or at the right end where no row is as long. */
const marks = {
  id: "marks",
  afterDraw({ ctx, chartArea: { top, bottom, right }, scales: { x }, $mark: mark, $bars: bars, $ink }) {
    if (!mark) return;
    const at = bars.findIndex(({ from, to }) => mark >= from && mark <= to);
    const width = x.width / bars.length;
    const bar = bars[at];
    const left = bar ? x.left + width * (at + (mark - bar.from) / (bar.to - bar.from + 1)) : right;
    ctx.save();
    ctx.strokeStyle = $ink;
    ctx.setLineDash([4, 3]);
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    ctx.moveTo(left, top);
    ctx.lineTo(left, bottom);
    ctx.stroke();
    ctx.fillStyle = $ink;
    ctx.font = Chart.helpers.toFont(Chart.defaults.font).string;
    const { root } = ctx.canvas.$figure;
    ctx.textAlign = left > right / 2 ? "right" : "left";
    ctx.fillText(root.dataset.markLabel, left + (left > right / 2 ? -5 : 5), top + 10);
    ctx.restore();
  },
};

class Histogram {
  constructor(root) {
    this.root = root;
    this.plot = root.querySelector(".chart-plot");
    const bars = [...root.querySelectorAll("tr[data-from]")].map(({ dataset, cells }) => ({
      from: Number(dataset.from), to: Number(dataset.to), count: Number(dataset.count), label: cells[0].textContent,
    }));
    const canvas = this.plot.appendChild(document.createElement("canvas"));
    canvas.$figure = this;
    this.chart = new Chart(canvas, {
      type: "bar",
      plugins: [marks],
      data: {
        labels: bars.map(({ label }) => label),
        datasets: [{ data: bars.map(({ count }) => count), categoryPercentage: 1, barPercentage: 0.94, minBarLength: 1 }],
      },
      options: {
        animation: false, maintainAspectRatio: false, locale: lang,
        scales: {
          x: { grid: { display: false }, ticks: { maxTicksLimit: 8, maxRotation: 0 } },
          y: { beginAtZero: true, ticks: { maxTicksLimit: 5, precision: 0, callback: (value) => short.format(value) } },
        },
        plugins: { legend: { display: false }, tooltip: { callbacks: { label: ({ parsed }) => whole.format(parsed.y) } } },
      },
    });
    Object.assign(this.chart, { $mark: Number(root.dataset.mark), $bars: bars });
    this.colour();
  }

  /** Draws with the colours of the style sheet. */
  colour() {
    const { color, borderTopColor } = getComputedStyle(this.plot);
    const { scales } = this.chart.options;
    for (const axis of [scales.x, scales.y]) {
      axis.ticks.color = color;
      axis.grid.color = axis.border.color = borderTopColor;
    }
    const summary = getComputedStyle(this.root);
    this.chart.$ink = summary.color;
    this.chart.data.datasets[0].backgroundColor = summary.outlineColor;
    this.chart.update("none");
  }
}

function start(root) {
  for (const one of drawn) {
    if (!one.root.isConnected) {
      one.chart.destroy();
      drawn.delete(one);
    }
  }
  for (const figure of [root, ...root.querySelectorAll("[data-histogram]")]) {
    if (figure.matches?.("[data-histogram]") && !figure.querySelector("canvas")) drawn.add(new Histogram(figure));
  }
}
Chart.defaults.font = { ...Chart.defaults.font, family: getComputedStyle(document.body).fontFamily, size: 11 };
start(document);
document.body.addEventListener("htmx:load", (event) => start(event.detail.elt));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((one) => one.colour()));
