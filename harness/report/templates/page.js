"use strict";
// The page is whole without this; it adds sorting, filtering, downloads and a look at the samples.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const valueOf = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });

  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const keyed = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
        keyed.sort(([a], [b]) => (up ? compare(a, b) : compare(b, a)));
        body.append(...keyed.map(([, row]) => row));
      });
    });
  }

  for (const input of all("input[data-filters]")) {
    const table = document.getElementById(input.dataset.filters);
    const told = document.getElementById(`${input.dataset.filters}-count`);
    input.closest(".tools").hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.getClientRects().length > 0; // another control may hide it, too
      }
      told.textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
    });
  }

  const unpack = async (id) => {
    const packed = document.getElementById(id).textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  for (const link of all("a[data-unpack]")) {
    link.addEventListener("click", async (event) => {
      event.preventDefault();
      const blob = new Blob([await unpack(link.dataset.unpack)], { type: link.type });
      const saver = document.createElement("a");
      saver.href = URL.createObjectURL(blob);
      saver.download = link.getAttribute("download");
      saver.click();
      setTimeout(() => URL.revokeObjectURL(saver.href), 10000);
    });
  }

  let samples;
  const loadSamples = async () => {
    const [head, ...lines] = (await unpack("samples-packed")).trim().split("\n");
    const names = splitRow(head);
    return lines.map((line) => {
      const cells = splitRow(line);
      return Object.fromEntries(names.map((name, n) => [name, cells[n]]));
    });
  };
  // A workload's name may hold commas; pandas quotes such a cell.
  const splitRow = (line) =>
    line.match(/("([^"]|"")*"|[^,]*)(,|$)/g).slice(0, -1)
      .map((cell) => cell.replace(/,$/, "").replace(/^"|"$/g, "").replaceAll('""', '"'));
  const dialog = document.getElementById("samples-dialog");
  const show = async (key) => {
    samples ??= await loadSamples();
    const [workload, cpus, threads, testcase] = key.split("\t");
    const found = samples.filter((row) => row.workload === workload && row.cpus === cpus
      && row.nr_threads === threads && row.case === testcase);
    const boots = Map.groupBy ? Map.groupBy(found, (row) => row.boot)
      : found.reduce((map, row) => map.set(row.boot, [...(map.get(row.boot) ?? []), row]), new Map());
    dialog.querySelector("tbody").replaceChildren(...[...boots].map(([boot, rows]) => {
      const tr = document.createElement("tr");
      const times = rows.map((row) => row.avg_us).join(", ");
      for (const text of [Number(boot) + 1, rows[0].kernel, times]) tr.insertCell().textContent = text;
      return tr;
    }));
    dialog.querySelector("p").textContent =
      `${testcase}, ${workload}, ${cpus} CPUs, ${threads} threads: ${found.length} samples of ${boots.size} boots`;
    dialog.showModal();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest('tr[data-key] a[href="samples.csv"]');
    if (!link || !document.getElementById("samples-packed")) return;
    event.preventDefault();
    show(link.closest("tr").dataset.key);
  });
  const openTarget = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target?.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();
})();
