// Shows where a cell of one clip attends in the other: the cell under the pointer, or
// the one that the arrow keys choose.
"use strict";

// How dark a cell is that nothing attends to.
const DARKEST = 0.7;

for (const figure of document.querySelectorAll(".correspondence")) {
  const values = JSON.parse(figure.querySelector("script").textContent);
  const sides = {
    past: makeSide(figure, "past", values.observed),
    future: makeSide(figure, "future", values.future),
  };
  // Rows of bytes: 255 is the highest weight of the row.
  sides.past.weights = bytes(values.forward);
  sides.past.highest = values.forward_highest;
  sides.future.weights = bytes(values.backward);
  sides.future.highest = values.backward_highest;
  const output = figure.querySelector("output");
  let held = false;

  function show(from, cell) {
    const to = from === "past" ? "future" : "past";
    const source = sides[from], target = sides[to];
    const count = target.cells.length;
    const row = source.weights.subarray(cell * count, (cell + 1) * count);
    const strongest = row.indexOf(255);
    source.cells.forEach((element, number) => {
      element.style.background = "";
      element.classList.toggle("chosen", number === cell);
      element.classList.remove("strongest");
    });
    target.cells.forEach((element, number) => {
      const share = row[number] / 255;
      element.style.background = `rgba(0, 0, 0, ${(DARKEST * (1 - share)).toFixed(3)})`;
      element.classList.toggle("strongest", number === strongest);
      element.classList.remove("chosen");
    });
    const highest = source.highest[cell];
    output.textContent =
      `${from}, ${place(source, cell)}: attends most to the ${to}, ` +
      `${place(target, strongest)}, with a weight of ${highest.toFixed(4)}, ` +
      `${(highest * count).toFixed(1)} times that of equal weights.`;
  }

  for (const [name, side] of Object.entries(sides)) {
    side.cells.forEach((element, number) => {
      element.addEventListener("mouseenter", () => held || show(name, number));
      element.addEventListener("click", () => {
        held = !(held && element.classList.contains("chosen"));
        show(name, number);
      });
    });
    side.box.addEventListener("keydown", (event) => {
      const columns = side.grid[2];
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
      if (!(event.key in steps)) return;
      event.preventDefault();
      const chosen = side.cells.findIndex((cell) => cell.classList.contains("chosen"));
      const next = chosen < 0 ? 0 : chosen + steps[event.key];
      held = true;
      show(name, Math.min(Math.max(next, 0), side.cells.length - 1));
    });
  }
  show("past", values.strongest);
}

function makeSide(figure, name, clip) {
  const box = figure.querySelector(`.${name}`);
  const [steps, rows, columns] = clip.grid;
  box.tabIndex = 0;
  const label = document.createElement("div");
  label.className = "label";
  label.textContent = name;
  box.append(label);
  const cells = [];
  for (let step = 0; step < steps; step++) {
    const frame = document.createElement("div");
    frame.className = "frame";
    frame.style.aspectRatio = clip.aspect;
    frame.style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)`;
    frame.style.backgroundImage = `url(${clip.strip})`;
    frame.style.backgroundSize = `${100 * steps}% 100%`;
    frame.style.backgroundPosition = `${steps > 1 ? (100 * step) / (steps - 1) : 0}% 0`;
    frame.title = `${clip.times_s[step].toFixed(2)} s`;
    for (let number = 0; number < rows * columns; number++) {
      const cell = document.createElement("div");
      cell.className = "cell";
      cell.dataset.cell = cells.length;
      cells.push(cell);
      frame.append(cell);
    }
    box.append(frame);
  }
  return { box, cells, grid: clip.grid, times_s: clip.times_s };
}

function place(side, cell) {
  const [, rows, columns] = side.grid;
  const step = Math.floor(cell / (rows * columns));
  const row = Math.floor(cell / columns) % rows, column = cell % columns;
  return `${side.times_s[step].toFixed(2)} s, row ${row + 1}, column ${column + 1}`;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
