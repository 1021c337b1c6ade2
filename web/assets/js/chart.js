// Reads a chart under the pointer: a line at the bucket, and its numbers above the chart. The table has them all, too.
const SVG = "http://www.w3.org/2000/svg";

export function read(figure) {
  const drawing = figure.querySelector("svg");
  const labels = figure.dataset.labels.split("|");
  const left = Number(figure.dataset.left);
  const width = drawing.viewBox.baseVal.width;
  const series = [...drawing.querySelectorAll("[data-values]")];
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("class", "cross");
  drawing.append(line);
  const output = document.createElement("output");
  figure.querySelector("figcaption").append(output);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    const step = (width - left) / labels.length;
    const at = Math.floor((x - left) / step);
    if (at < 0 || at >= labels.length) return;
    line.setAttribute("d", `M${left + step * (at + 0.5)} 0V${drawing.viewBox.baseVal.height}`);
    const numbers = series.map((one) => `${one.dataset.name} ${one.dataset.values.split("|")[at] || "unknown"}`);
    output.textContent = ` ${labels[at]}: ${numbers.join(" · ")}`;
  });
  drawing.addEventListener("pointerleave", () => {
    line.removeAttribute("d");
    output.textContent = "";
  });
}
