// Turns all pictures of the stage together: by dragging, by the slider, slowly on their own before that.
(() => {
  const panels = [...document.querySelectorAll(".spin div")];
  const slider = document.querySelector(".turn");
  if (!panels.length || !slider) return;
  const button = document.querySelector(".play");
  const count = Number(slider.max) + 1;
  let place = 0;
  let turning = false;
  let before = 0;
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
  const idle = (now) => {
    if (!turning) return;
    place += ((now - before) / 1000) * count / 14;
    before = now;
    show();
    requestAnimationFrame(idle);
  };
  const turn = (on) => {
    const begins = on && !turning;
    turning = on;
    button.textContent = on ? "Pause" : "Turn";
    if (!begins) return;
    before = performance.now();
    requestAnimationFrame(idle);
  };
  button.hidden = false;
  button.addEventListener("click", () => turn(!turning));
  slider.addEventListener("input", () => { turn(false); place = Number(slider.value); show(); });
  for (const panel of panels) {
    let last = null;
    panel.addEventListener("pointerdown", (e) => {
      turn(false); last = e.clientX; panel.setPointerCapture(e.pointerId);
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
  turn(!matchMedia("(prefers-reduced-motion: reduce)").matches);
})();
