"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const plain = (value) => String(Number(value.toPrecision(4)));
  const three = (value) => (value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0));
  const scaled = (value, units) => {
    const [least, unit] = units.find(([least]) => value >= least) || units[units.length - 1];
    return [value / least, unit];
  };
  const TIMES = [[1e9, "s"], [1e6, "ms"], [1e3, "us"], [1, "ns"]];
  const COUNTS = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
  const percentile = (value) => `${Number((100 * (1 - 1 / Math.max(value, 1))).toFixed(5))} %`;
  // The text of a tick, and of a value that is read.
  const TICK = {
    time: (value) => { const [number, unit] = scaled(value, TIMES); return `${plain(number)} ${unit}`; },
    seconds: (value) => `${plain(value)} s`,
    rate: (value) => { const [number, unit] = scaled(value, COUNTS); return plain(number) + unit; },
    count: (value) => { const [number, unit] = scaled(value, COUNTS); return plain(number) + unit; },
    percentile,
    ratio: plain,
  };
  const READ = {
    ...TICK,
    time: (value) => { const [number, unit] = scaled(value, TIMES); return `${three(number)} ${unit}`; },
    rate: (value) => Math.round(value).toLocaleString("en"),
    count: (value) => Math.round(value).toLocaleString("en"),
  };

  const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  // uPlot wants one list of x for all series. The ends of the axis are in it, so that the whole
  // axis is shown.
  const aligned = (chart) => {
    const tables = chart.series.map((series) => [series.points.map((p) => p[0]), series.points.map((p) => p[1])]);
    tables.push([[chart.x.min, chart.x.max], [null, null]]);
    return uPlot.join(tables);
  };

  const clipped = (u, draw) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    draw(ctx, bbox);
    ctx.restore();
  };

  const drawHeat = (u, heat) => clipped(u, (ctx) => {
    const xs = heat.columns.map(([from, to]) => [from, to].map((x) => u.valToPos(x, "x", true)));
    const ys = heat.edges.map((y) => u.valToPos(y, "y", true));
    for (let shade = 1; shade <= 6; shade++) {
      ctx.fillStyle = color(`h${shade}`);
      heat.cells.forEach((cells, column) => [...cells].forEach((cell, row) => {
        if (Number(cell) !== shade) return;
        const [left, right] = xs[column];
        ctx.fillRect(left, ys[row + 1], right - left + 0.5, ys[row] - ys[row + 1] + 0.5);
      }));
    }
  });

  const drawBands = (u, chart) => clipped(u, (ctx, bbox) => {
    for (const band of chart.bands) {
      const [left, right] = [band.from, band.to].map((x) => u.valToPos(x, "x", true));
      ctx.fillStyle = color("band");
      ctx.globalAlpha = 0.7;
      ctx.fillRect(left, bbox.top, Math.max(right - left, 1), bbox.height);
      ctx.globalAlpha = 1;
    }
  });

  const drawMarks = (u, chart) => clipped(u, (ctx, bbox) => {
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    for (const band of chart.bands) {
      ctx.fillStyle = color("text");
      ctx.textAlign = "right";
      ctx.fillText(band.text, u.valToPos(band.to, "x", true) - 6 * devicePixelRatio, bbox.top + bbox.height - 8 * devicePixelRatio);
    }
    for (const mark of chart.marks) {
      const x = u.valToPos(mark.at, "x", true);
      const isRight = x > bbox.left + bbox.width / 2;
      ctx.strokeStyle = ctx.fillStyle = color("text");
      ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.textAlign = isRight ? "right" : "left";
      ctx.fillText(mark.text, x + (isRight ? -6 : 6) * devicePixelRatio, bbox.top + 16 * devicePixelRatio);
    }
  });

  const nearest = (points, x, isLog) => {
    const place = (value) => (isLog ? Math.log(value) : value);
    let best = null;
    for (const point of points) {
      if (!best || Math.abs(place(point[0]) - place(x)) < Math.abs(place(best[0]) - place(x))) best = point;
    }
    return best;
  };

  const height = (width) => Math.round(Math.min(340, Math.max(220, width * 0.45)));

  const options = (chart, width, read) => {
    const axis = (spec, size) => ({
      stroke: color("soft"),
      grid: { stroke: color("grid"), width: 1 },
      ticks: { stroke: color("grid"), width: 1 },
      font: "12px system-ui, sans-serif",
      label: spec.title,
      labelSize: 18,
      labelFont: "12px system-ui, sans-serif",
      size,
      space: 46,
      values: (u, splits) => splits.map((value) => (value == null ? "" : TICK[spec.unit](value))),
    });
    const scale = (spec) => (spec.log ? { time: false, distr: 3, log: 10 } : { time: false });
    // Ticks at powers of ten alone, because values between them have no round percentile.
    const x = axis(chart.x, 36);
    if (chart.x.unit === "percentile") {
      x.filter = (u, splits) => splits.map((v) => (Math.abs(Math.log10(v) % 1) < 1e-6 ? v : null));
    }
    if (chart.x.unit === "count") {
      x.filter = (u, splits) => splits.map((v) => (Number.isInteger(v) ? v : null));
    }
    const y = axis(chart.y, 64);
    for (const [axis, spec] of [[x, chart.x], [y, chart.y]]) {
      if (!spec.log || axis.filter || spec.unit === "percentile" || spec.max / spec.min > 400) continue;
      // Few decades: 1, 2 and 5 of each; less than one: all.
      const digits = spec.max / spec.min < 8 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : [1, 2, 5];
      axis.filter = (u, splits) => splits.map((v) => (digits.includes(Number(v.toExponential(3).split("e")[0])) ? v : null));
    }
    return {
      width,
      height: height(width),
      legend: { show: false },
      cursor: { drag: { x: true, y: false }, points: { show: false } },
      scales: {
        x: { ...scale(chart.x), range: (u, min, max) => [Math.max(min, chart.x.min), Math.min(max, chart.x.max)] },
        y: { ...scale(chart.y), range: () => [chart.y.min, chart.y.max] },
      },
      axes: [x, y],
      series: [{}].concat(chart.series.map((series) => ({
        label: series.name,
        stroke: color(`c${series.color}`),
        fill: undefined,
        width: series.kind === "dots" ? 0 : 2,
        dash: series.kind === "dashed" ? [6, 4] : undefined,
        paths: series.kind === "dots" ? () => null : undefined,
        spanGaps: true,
        points: {
          show: series.kind === "dots" || series.kind === "dotted",
          size: 7,
          width: 0,
          fill: color(`c${series.color}`),
        },
      }))),
      hooks: {
        drawClear: [(u) => { if (chart.heat) drawHeat(u, chart.heat); drawBands(u, chart); }],
        draw: [(u) => drawMarks(u, chart)],
        setCursor: [(u) => { if (u.cursor.left >= 0) read(u.posToVal(u.cursor.left, "x")); }],
      },
    };
  };

  const charts = [];

  const begin = (figure) => {
    const plot = figure.querySelector(".plot");
    const reading = figure.querySelector(".reading");
    const chart = JSON.parse(figure.querySelector("script.data").textContent);
    const xs = [...new Set(chart.series.flatMap((series) => series.points.map((p) => p[0])))].sort((a, b) => a - b);
    let at = -1;
    let u = null;
    const read = (x) => {
      const found = nearest(xs.map((value) => [value]), x, chart.x.log);
      if (!found) return;
      at = xs.indexOf(found[0]);
      const place = (value) => (chart.x.log ? Math.log(value) : value);
      const reach = 0.02 * Math.abs(place(chart.x.max) - place(chart.x.min));
      const texts = chart.series.map((series) => {
        const point = nearest(series.points, found[0], chart.x.log);
        // A series without a value here is left out. A line through two points is everywhere.
        const isHere = point && (series.points.length === 2 || Math.abs(place(point[0]) - place(found[0])) <= reach);
        return isHere && `${series.name} ${READ[chart.y.unit](point[1])}`;
      });
      reading.textContent = `${READ[chart.x.unit](found[0])}: ${texts.filter(Boolean).join(", ")}`;
    };
    const draw = () => {
      if (u) u.destroy();
      // A figure in a closed part of the page has no width until it is opened.
      u = plot.clientWidth > 0 ? new uPlot(options(chart, plot.clientWidth, read), aligned(chart), plot) : null;
      plot.classList.toggle("live", u !== null);
    };
    const move = (to) => {
      at = Math.min(Math.max(to, 0), xs.length - 1);
      if (u) u.setCursor({ left: u.valToPos(xs[at], "x"), top: u.over.clientHeight / 2 });
      read(xs[at]);
    };
    plot.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: xs.length - 1 };
      if (!(event.key in steps) || !xs.length) return;
      event.preventDefault();
      move(steps[event.key]);
    });
    new ResizeObserver(() => {
      const width = plot.clientWidth;
      if (!u || width === 0) draw();
      else if (Math.abs(u.width - width) > 1) u.setSize({ width, height: height(width) });
    }).observe(plot);
    charts.push(draw);
    draw();
  };

  document.querySelectorAll("figure").forEach((figure) => {
    if (figure.querySelector("script.data")) begin(figure);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((draw) => draw()));

  const said = (button, text) => {
    const before = button.textContent;
    button.textContent = text;
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  document.querySelectorAll("button[data-save]").forEach((button) => button.addEventListener("click", () => {
    const text = JSON.stringify(JSON.parse(document.getElementById(button.dataset.save).textContent), null, 2);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "application/json" }));
    link.download = button.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }));
  document.querySelectorAll("button[data-copy]").forEach((button) => button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // A page from a file may not use the clipboard by this way.
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
      document.execCommand("copy");
    }
    said(button, "Copied");
  }));
})();
