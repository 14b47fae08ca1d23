// Keeps the letters of charts readable: on a narrow page a wide chart scrolls.
"use strict";

// The least size of a chart, as a fraction of the size that it was drawn in.
const LEAST_SIZE = 0.65;

addEventListener("load", () => {
  for (const chart of document.querySelectorAll(".chart")) {
    chart.style.minWidth = `${LEAST_SIZE * chart.naturalWidth}px`;
  }
});
