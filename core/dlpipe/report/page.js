"use strict";
// Draws the charts of the page with BokehJS, again when the colors of the page change.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const { Plotting, ColumnDataSource, FixedTicker, HoverTool } = Object.assign({}, Bokeh, Bokeh.Plotting, { Plotting: Bokeh.Plotting });
  const touches = matchMedia("(pointer: coarse)").matches;

  function colorOf(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function place(chart, series) {
    return chart.ticks.length ? series.x.map((value) => (typeof value === "string" ? chart.ticks.indexOf(value) : value)) : series.x;
  }

  function draw(chart, element) {
    const [text, quiet, line] = ["--text", "--quiet", "--line"].map(colorOf);
    const dark = matchMedia("screen and (prefers-color-scheme: dark)").matches;
    const figure = Plotting.figure({
      tools: touches ? "box_zoom,reset,save" : "box_zoom,xpan,reset,save",
      sizing_mode: "stretch_both",
      y_axis_type: chart.log_y ? "log" : "linear",
      x_axis_label: chart.x_label,
      y_axis_label: chart.y_label,
      background_fill_alpha: 0,
      border_fill_alpha: 0,
      outline_line_color: null,
    });
    figure.toolbar.logo = null;
    const sizes = chart.series.flatMap((series) => series.y.map(Math.abs));
    figure.y_range.default_span = sizes.reduce((most, size) => Math.max(most, size), 0) || 1; // of a constant
    if (touches) figure.toolbar.active_drag = null; // a finger scrolls the page
    for (const axis of [figure.xaxis, figure.yaxis].flat()) {
      Object.assign(axis, {
        axis_label_text_color: quiet, major_label_text_color: quiet, axis_line_color: line,
        major_tick_line_color: line, minor_tick_line_color: null, axis_label_text_font_style: "normal",
      });
    }
    for (const grid of [figure.xgrid, figure.ygrid].flat()) {
      grid.grid_line_color = line;
      grid.grid_line_alpha = 0.5;
    }
    if (chart.ticks.length) {
      figure.xaxis.ticker = new FixedTicker({ ticks: chart.ticks.map((_, index) => index) });
      figure.xaxis.major_label_overrides = new Map(chart.ticks.map((name, index) => [index, name]));
    }
    const several = chart.series.length > 1;
    for (const series of chart.series) {
      const known = chart.colors[series.color % chart.colors.length];
      const color = dark && known === "#000000" ? "#ffffff" : known;
      const source = new ColumnDataSource({
        data: { x: place(chart, series), y: series.y.map((value) => (value === null ? NaN : value)), name: series.x.map(() => series.name) },
      });
      const common = { source, ...(several ? { legend_label: series.name } : {}) };
      const [x, y] = [{ field: "x" }, { field: "y" }];
      let glyph;
      if (series.style === "bars") {
        glyph = figure.vbar({ x, top: y, width: 0.7, fill_color: color, line_color: color, ...common });
      } else if (series.style === "points" || series.x.length === 1) {
        glyph = figure.scatter({ x, y, marker: "circle", size: 9, fill_color: color, line_color: text, ...common });
      } else {
        glyph = figure.line({ x, y, line_color: color, line_width: 2, line_dash: series.style === "dashed" ? [6, 4] : [], ...common });
      }
      figure.add_tools(new HoverTool({
        renderers: [glyph], visible: false, mode: "mouse",
        tooltips: [["", "@name"], [chart.x_label, "@x"], [chart.y_label || "value", "@y{0.[00000]}"]],
      }));
    }
    if (several) {
      Object.assign(figure.legend, {
        click_policy: "hide", background_fill_alpha: 0, border_line_color: null, label_text_color: text,
        orientation: "horizontal", ncols: Math.max(1, Math.floor(element.clientWidth / 120)),
      });
      const legend = figure.legend;
      figure.center = figure.center.filter((each) => each !== legend);
      figure.add_layout(legend, "below");
    }
    return Plotting.show(figure, element);
  }

  // A chart in a folded section is drawn when the section is opened.
  async function drawAll() {
    for (const [index, chart] of charts.entries()) {
      const element = document.getElementById(`chart-${index}`);
      element.replaceChildren();
      if (!element.closest("details:not([open])")) await draw(chart, element);
    }
    document.documentElement.dataset.charts = "drawn"; // for whoever waits for it
  }

  let last = Promise.resolve();
  const again = () => { last = last.then(drawAll); };
  again();
  matchMedia("screen and (prefers-color-scheme: dark)").addEventListener("change", again);
  for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", again);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
})();
