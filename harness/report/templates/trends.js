"use strict";
// Every chart is there without this; it hides those that are not asked for.
(() => {
  const tools = document.getElementById("trend-tools");
  const filters = [...tools.querySelectorAll("select")];
  const changed = document.getElementById("trend-changed");
  const charts = [...document.querySelectorAll("figure.trend")];
  const rows = [...document.querySelectorAll("#changes tbody tr")];
  const fits = (element) => filters.every(
    (filter) => !filter.value || element.dataset[filter.dataset.trendFilter] === filter.value);
  const apply = () => {
    for (const row of rows) row.hidden = !fits(row);
    for (const chart of charts) {
      chart.hidden = !fits(chart) || (changed.checked && chart.dataset.changes === "0");
    }
    const shown = charts.filter((chart) => !chart.hidden).length;
    document.getElementById("trend-count").textContent = `${shown} of ${charts.length} series`;
  };
  tools.hidden = false;
  for (const control of [...filters, changed]) control.addEventListener("change", apply);
  apply();
})();
