"use strict";
// Draws the figures in the colours of the theme in force, and again when it changes or the page is printed.
(() => {
  const config = { displayModeBar: false, responsive: true };
  const print = window.matchMedia("print");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll(".plot")].map((element) => {
    const source = element.querySelector("script");
    const figure = JSON.parse(source.textContent);
    source.remove();
    return { element, figure };
  });

  const themed = (value, style) => {
    if (typeof value === "string") {
      return value.startsWith("$") ? style.getPropertyValue("--" + value.slice(1)).trim() || style.color : value;
    }
    if (Array.isArray(value)) return value.map((item) => themed(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, style)]));
    }
    return value;
  };

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    for (const { element, figure } of plots) {
      if (element.closest("details:not([open])")) continue;
      const { data, layout } = themed(figure, style);
      Plotly.react(element, data, layout, config);
    }
  };

  draw();
  for (const details of document.querySelectorAll("details.setting, details.front")) details.addEventListener("toggle", draw);
  for (const query of [dark, print]) query.addEventListener("change", draw);
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    draw();
  });
})();
