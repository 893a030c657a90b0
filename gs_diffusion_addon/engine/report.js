// Turns all pictures of the stage together: by dragging, by the slider, slowly on their own before that.
(() => {
  const panels = [...document.querySelectorAll(".spin div")];
  const slider = document.querySelector(".turn");
  if (!panels.length || !slider) return;
  const count = Number(slider.max) + 1;
  let place = 0;
  let touched = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = () => {
    const frame = ((Math.floor(place) % count) + count) % count;
    slider.value = frame;
    for (const panel of panels) {
      const columns = Number(panel.dataset.columns);
      const rows = Number(panel.dataset.rows);
      const x = columns > 1 ? ((frame % columns) / (columns - 1)) * 100 : 0;
      const y = rows > 1 ? (Math.floor(frame / columns) / (rows - 1)) * 100 : 0;
      panel.style.backgroundPosition = `${x}% ${y}%`;
    }
  };
  slider.addEventListener("input", () => { touched = true; place = Number(slider.value); show(); });
  for (const panel of panels) {
    let last = null;
    panel.addEventListener("pointerdown", (e) => {
      touched = true; last = e.clientX; panel.setPointerCapture(e.pointerId);
    });
    panel.addEventListener("pointermove", (e) => {
      if (last === null) return;
      place -= ((e.clientX - last) / panel.clientWidth) * count * 0.6;
      last = e.clientX;
      show();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      panel.addEventListener(end, () => { last = null; });
    }
  }
  let before = performance.now();
  const idle = (now) => {
    if (!touched) { place += ((now - before) / 1000) * count / 14; show(); }
    before = now;
    if (!touched) requestAnimationFrame(idle);
  };
  requestAnimationFrame(idle);
})();
