// The splat in 3-D: unpacks the page's own .spz models and shows one at a time with gsplat.js (GSPLAT).
// The library has no view-dependent color, so it is worked out here whenever the eye has moved.
(() => {
  const figure = document.querySelector(".viewer");
  if (!figure) return;
  const canvas = figure.querySelector("canvas");
  const said = figure.querySelector(".said");
  const say = (text) => { said.textContent = text; };
  const buttons = [...figure.querySelectorAll("button[data-model]")];
  const center = figure.dataset.center.split(" ").map(Number);
  const size = Number(figure.dataset.size);

  const inflated = async (base64) => {
    const packed = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  // .spz, version 2 (core/spz.py writes it): Y up there, Y down in the library, so Y and Z flip. The
  // model is moved and scaled so that it fills a ball of radius 1 around the origin.
  const unpacked = (data) => {
    const view = new DataView(data.buffer);
    const count = view.getUint32(8, true);
    const unit = 1 / (1 << view.getUint8(13)) / size;
    const positions = new Float32Array(3 * count), scales = new Float32Array(3 * count);
    const rotations = new Float32Array(4 * count), colors = new Uint8Array(4 * count);
    const flip = [1, -1, -1];
    const alphas = 16 + 9 * count, rgb = alphas + count, logs = rgb + 3 * count, xyz = logs + 3 * count;
    const degree = view.getUint8(12);
    const plain = new Float32Array(3 * count);
    for (let k = 0; k < count; k++) {
      let square = 0;
      for (let a = 0; a < 3; a++) {
        const p = 16 + 9 * k + 3 * a;
        const whole = ((data[p] << 8) | (data[p + 1] << 16) | (data[p + 2] << 24)) >> 8;
        positions[3 * k + a] = flip[a] * (whole * unit - center[a] / size);
        scales[3 * k + a] = Math.exp(data[logs + 3 * k + a] / 16 - 10) / size;
        const harmonic = (data[rgb + 3 * k + a] / 255 - 0.5) / 0.15;
        const color = 255 * (0.5 + 0.28209479177387814 * harmonic);
        plain[3 * k + a] = color;
        colors[4 * k + a] = Math.max(0, Math.min(255, Math.round(color)));
        const q = data[xyz + 3 * k + a] / 127.5 - 1;
        rotations[4 * k + 1 + a] = flip[a] * q;
        square += q * q;
      }
      rotations[4 * k] = Math.sqrt(Math.max(0, 1 - square));
      colors[4 * k + 3] = data[alphas + k];
    }
    const splat = new GSPLAT.Splat(new GSPLAT.SplatData(count, positions, rotations, scales, colors));
    return { splat, degree, plain, harmonics: data.subarray(xyz + 3 * count) };
  };

  // Values of the harmonics of degree 1 to 3 in a unit direction, with the signs of 3DGS' rasterizer.
  const basis = (x, y, z, degree, out) => {
    out[0] = -0.4886025119029199 * y;
    out[1] = 0.4886025119029199 * z;
    out[2] = -0.4886025119029199 * x;
    if (degree < 2) return;
    const xx = x * x, yy = y * y, zz = z * z;
    out[3] = 1.0925484305920792 * x * y;
    out[4] = -1.0925484305920792 * y * z;
    out[5] = 0.31539156525252005 * (2 * zz - xx - yy);
    out[6] = -1.0925484305920792 * x * z;
    out[7] = 0.5462742152960396 * (xx - yy);
    if (degree < 3) return;
    out[8] = -0.5900435899266435 * y * (3 * xx - yy);
    out[9] = 2.890611442640554 * x * y * z;
    out[10] = -0.4570457994644658 * y * (4 * zz - xx - yy);
    out[11] = 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy);
    out[12] = -0.4570457994644658 * x * (4 * zz - xx - yy);
    out[13] = 1.445305721320277 * z * (xx - yy);
    out[14] = -0.5900435899266435 * x * (xx - 3 * yy);
  };

  // Write the colors seen from the eye into the library's texture data: 32 bytes a splat, color last.
  const tint = (model, data, eye) => {
    const { degree, plain, harmonics } = model;
    const bytes = new Uint8ClampedArray(data.data.buffer, data.data.byteOffset);
    const number = (degree + 1) ** 2 - 1;
    const values = new Float32Array(number);
    const xyz = data.positions;
    for (let k = 0; k < data.vertexCount; k++) {
      const x = xyz[3 * k] - eye.x, y = xyz[3 * k + 1] - eye.y, z = xyz[3 * k + 2] - eye.z;
      const length = Math.hypot(x, y, z) || 1;
      basis(x / length, -y / length, -z / length, degree, values);
      let r = 0, g = 0, b = 0;
      for (let j = 0, at = 3 * number * k; j < number; j++, at += 3) {
        r += values[j] * (harmonics[at] - 128);
        g += values[j] * (harmonics[at + 1] - 128);
        b += values[j] * (harmonics[at + 2] - 128);
      }
      bytes[32 * k + 28] = plain[3 * k] + r * (255 / 128);
      bytes[32 * k + 29] = plain[3 * k + 1] + g * (255 / 128);
      bytes[32 * k + 30] = plain[3 * k + 2] + b * (255 / 128);
    }
  };

  const start = () => {
    if (!window.DecompressionStream || !document.createElement("canvas").getContext("webgl2")) {
      say("This browser has no WebGL 2, which the 3-D view needs.");
      return;
    }
    const scene = new GSPLAT.Scene();
    const camera = new GSPLAT.Camera();
    const renderer = new GSPLAT.WebGLRenderer(canvas, []);
    canvas.style.background = "none";
    camera.data.near = 0.01;
    let controls = null;
    let visible = true;
    let wheels = false;

    const face = () => {
      controls?.dispose();
      const { turn, lift } = canvas.dataset;
      const target = new GSPLAT.Vector3(0, 0, 0);
      controls = new GSPLAT.OrbitControls(
        camera, canvas, Number(turn), Number(lift), 3.2, false, target);
      controls.minZoom = 0.3;
      controls.maxZoom = 12;
      controls.dampening = 0.25;
      controls.zoomSpeed = 0.6;
      controls.orbitSpeed = 2;
    };
    // The wheel scrolls the page until the view was clicked, and again when the pointer has left it.
    canvas.addEventListener("wheel", (e) => { if (!wheels) e.stopImmediatePropagation(); }, true);
    canvas.addEventListener("mousedown", (e) => {
      wheels = true;
      canvas.classList.toggle("clicked", e.isTrusted);
      canvas.focus();
    }, true);
    canvas.addEventListener("mouseleave", () => { wheels = false; });
    // Arrow keys turn it through the library's own mouse handlers: its keys would move the camera.
    canvas.addEventListener("keydown", (e) => {
      const steps = {
        ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40],
      };
      if (!steps[e.key]) return;
      const [dx, dy] = steps[e.key];
      e.preventDefault();
      const at = (target, type, x, y) => target.dispatchEvent(
        new MouseEvent(type, { clientX: x, clientY: y, cancelable: true }));
      const kept = wheels;
      at(canvas, "mousedown", 0, 0);
      at(canvas, "mousemove", dx, dy);
      at(window, "mouseup", 0, 0);
      wheels = kept;
    });

    const resize = () => {
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const w = Math.max(1, Math.round(canvas.clientWidth * ratio));
      const h = Math.max(1, Math.round(canvas.clientHeight * ratio));
      if (canvas.width === w && canvas.height === h && camera.data.width === w) return;
      camera.data.fx = camera.data.fy = 1.25 * Math.min(w, h);
      renderer.setSize(w, h);
    };

    const show = async (button) => {
      for (const b of buttons) b.setAttribute("aria-pressed", String(b === button));
      say("Unpacking …");
      try {
        const packed = document.getElementById(button.dataset.model).textContent;
        const next = unpacked(await inflated(packed));
        if (button.getAttribute("aria-pressed") !== "true") return;
        for (const object of [...scene.objects]) scene.removeObject(object);
        model = next;
        tinted = null;
        scene.addObject(model.splat);
        say(button.dataset.says);
        figure.dataset.shown = button.dataset.model;
      } catch (error) {
        say(`This model cannot be shown: ${error}.`);
      }
    };

    // Draws while something changes: the camera, the size, the model, or the order of the splats, which a
    // worker finds meanwhile. A still view costs nothing.
    let drawn = [];
    let left = 0;
    let model = null;
    let tinted = null; // the eye's place that the colors are for
    const recolor = (place) => {
      const { renderData, splatTexture } = renderer.renderProgram;
      // The library has just packed the model (and will upload it), or we must upload it ourselves.
      const fresh = renderData?.dataChanged;
      if (!model?.degree || !renderData || (!fresh && (tinted === null || tinted === place))) return;
      tint(model, renderData, camera.position);
      tinted = place;
      if (fresh) return;
      const { gl } = renderer;
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, splatTexture);
      const { width, height, data } = renderData;
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RGBA_INTEGER, gl.UNSIGNED_INT, data);
    };
    const draw = () => {
      if (!visible) return;
      resize();
      controls.update();
      const place = camera.position.flat().map((v) => v.toFixed(5));
      const order = renderer.renderProgram.depthIndex;
      const now = [...place, canvas.width, canvas.height, scene.objects[0], order];
      const waiting = renderer.renderProgram.renderData?.dataChanged || !order.length;
      if (waiting || now.some((value, k) => value !== drawn[k])) left = 5;
      drawn = now;
      if (left > 0 && scene.objects.length) {
        left -= 1;
        recolor(place.slice(0, 3).join());
        renderer.render(scene, camera);
      }
      requestAnimationFrame(draw);
    };
    for (const b of buttons) b.addEventListener("click", () => show(b));
    figure.querySelector(".reset").addEventListener("click", face);
    new IntersectionObserver((entries) => {
      const before = visible;
      visible = entries[entries.length - 1].isIntersecting;
      if (visible && !before) requestAnimationFrame(draw);
    }).observe(canvas);
    face();
    figure.classList.add("running");
    show(buttons[0]).then(() => requestAnimationFrame(draw));
  };

  // Not before it comes into view: a page that is only skimmed costs nothing.
  const waiting = new IntersectionObserver((entries) => {
    if (!entries.some((e) => e.isIntersecting)) return;
    waiting.disconnect();
    try { start(); } catch (error) { say(`The 3-D view cannot start: ${error}.`); }
  });
  waiting.observe(figure);
})();
