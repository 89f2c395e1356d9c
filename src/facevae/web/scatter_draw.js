// The two ways to draw the dots of a scatter: WebGL 2, and Canvas 2D where there is no graphics processor. Both have the same methods:
//   setPoints(to, from)   Float32Arrays 2N in drawing order; the dots are at from + (to - from) * mixing
//   setStates(states)     Uint8Array N in drawing order: 0, 1, 2 (one colour for all), 3 (beneath), plus FADED
//   draw(look)            {a, b: unit -> pixel (x * a.x + b.x, x * a.y + b.y), mixing, count, size, alpha, fadedSize, fadedAlpha,
//                          anyFaded, colours: [[r, g, b] x 4] from 0 to 1, background: [r, g, b]}; sizes in canvas pixels
//   destroy()

export const FADED = 4;

const VERTEX = `#version 300 es
in vec2 from;
in vec2 to;
in float state;
uniform vec4 place;
uniform float mixing;
uniform float size;
uniform float layer;
uniform vec4 colours[4];
flat out vec4 colour;
void main() {
  float faded = step(3.5, state);
  if (faded != layer) {
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    gl_PointSize = 1.0;
    return;
  }
  gl_Position = vec4(mix(from, to, mixing) * place.xy + place.zw, 0.0, 1.0);
  gl_PointSize = size;
  colour = colours[int(state - 4.0 * faded)];
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
flat in vec4 colour;
uniform float softness;
out vec4 pixel;
void main() {
  vec2 off = gl_PointCoord * 2.0 - 1.0;
  pixel = colour * clamp((1.0 - dot(off, off)) * softness, 0.0, 1.0);
}`;

/** Draws with WebGL 2: positions and states lie in the graphics memory, and a frame changes a few numbers. */
export class WebGLDots {
  static on(canvas) {
    // WebGL that the processor imitates is several times slower than drawing with the processor.
    const settings = { alpha: false, antialias: false, depth: false, failIfMajorPerformanceCaveat: true };
    const gl = canvas.getContext("webgl2", settings);
    const program = gl === null ? null : linked(gl);
    return program === null ? null : new WebGLDots(gl, program);
  }

  constructor(gl, program) {
    this.name = "webgl2";
    this._gl = gl;
    gl.useProgram(program);
    const names = ["place", "mixing", "size", "layer", "colours", "softness"];
    this._uniforms = Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
    this._buffers = { from: gl.createBuffer(), to: gl.createBuffer(), state: gl.createBuffer() };
    this._places = Object.fromEntries(["from", "to", "state"].map((name) => [name, gl.getAttribLocation(program, name)]));
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  setPoints(to, from) {
    this._fill("to", to);
    if (from === null) this._attach("from", "to");
    else this._fill("from", from);
  }

  setStates(states) {
    this._fill("state", states);
  }

  _fill(name, values) {
    const gl = this._gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this._buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    this._attach(name, name);
  }

  _attach(name, buffer) {
    const gl = this._gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this._buffers[buffer]);
    gl.enableVertexAttribArray(this._places[name]);
    if (name === "state") gl.vertexAttribPointer(this._places[name], 1, gl.UNSIGNED_BYTE, false, 0, 0);
    else gl.vertexAttribPointer(this._places[name], 2, gl.FLOAT, false, 0, 0);
  }

  draw(look) {
    const gl = this._gl;
    const { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.clearColor(...look.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (look.count > 0) {
      const { a, b } = look;
      gl.uniform4f(this._uniforms.place, (2 * a.x) / width, (-2 * a.y) / height, (2 * b.x) / width - 1, 1 - (2 * b.y) / height);
      gl.uniform1f(this._uniforms.mixing, look.mixing);
      // What is faded lies beneath the rest.
      if (look.anyFaded) this._layer(1, look.fadedSize, look.fadedAlpha, look);
      this._layer(0, look.size, look.alpha, look);
    }
  }

  _layer(layer, size, alpha, look) {
    const gl = this._gl;
    gl.uniform1f(this._uniforms.layer, layer);
    gl.uniform1f(this._uniforms.size, size);
    gl.uniform1f(this._uniforms.softness, Math.max(1.6, size / 4));
    gl.uniform4fv(this._uniforms.colours, look.colours.flatMap((colour) => [...colour.map((part) => part * alpha), alpha]));
    gl.drawArrays(gl.POINTS, 0, look.count);
  }

  destroy() {
    this._gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** The program that draws the dots, or null where the graphics driver does not take it. */
function linked(gl) {
  const program = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

/** Draws into the pixels of a Canvas 2D, on the processor. */
export class PixelDots {
  constructor(canvas) {
    this.name = "2d";
    this._canvas = canvas;
    this._context = canvas.getContext("2d", { alpha: false });
    this._image = null;
    this._to = this._from = new Float32Array(0);
    this._states = new Uint8Array(0);
  }

  setPoints(to, from) {
    this._to = to;
    this._from = from ?? to;
  }

  setStates(states) {
    this._states = states;
  }

  draw(look) {
    const { width, height } = this._canvas;
    if (width === 0 || height === 0) return;
    if (this._image === null || this._image.width !== width || this._image.height !== height) {
      this._image = this._context.createImageData(width, height);
    }
    const pixels = new Uint32Array(this._image.data.buffer);
    pixels.fill(packed(look.background));
    if (look.anyFaded) this._layer(pixels, stampOf(look.fadedSize), look, FADED, look.fadedAlpha);
    this._layer(pixels, stampOf(look.size), look, 0, look.alpha);
    this._context.putImageData(this._image, 0, 0);
  }

  _layer(pixels, stamp, look, faded, alpha) {
    const { width, height } = this._canvas;
    const colours = look.colours.map(packed);
    const [from, to, states, { a, b, mixing }] = [this._from, this._to, this._states, look];
    const shares = stamp.shares.map((share) => Math.round(share * alpha * 256));
    for (let i = 0; i < look.count; i++) {
      const state = states[i];
      if ((state & FADED) !== faded) continue;
      const left = Math.round((from[2 * i] + (to[2 * i] - from[2 * i]) * mixing) * a.x + b.x - stamp.side / 2);
      const top = Math.round((from[2 * i + 1] + (to[2 * i + 1] - from[2 * i + 1]) * mixing) * a.y + b.y - stamp.side / 2);
      // A dot that the border cuts is left out whole, so that its pixels need no test of their own.
      if (left < 0 || top < 0 || left + stamp.side > width || top + stamp.side > height) continue;
      press(pixels, top * width + left, width, stamp, shares, colours[state & 3]);
    }
  }

  destroy() {
  }
}

function packed(colour) {
  const [red, green, blue] = colour.map((part) => Math.round(part * 255));
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

/** How much of each pixel of a square a round dot of that diameter covers. */
function stampOf(size) {
  const side = Math.max(1, Math.ceil(size));
  const shares = [];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const off = Math.hypot(x + 0.5 - side / 2, y + 0.5 - side / 2);
      shares.push(Math.max(0, Math.min(1, size / 2 - off + 0.5)));
    }
  }
  return { side, shares };
}

function press(pixels, corner, width, stamp, shares, colour) {
  for (let y = 0, i = 0; y < stamp.side; y++) {
    for (let at = corner + y * width, end = at + stamp.side; at < end; at++, i++) {
      const share = shares[i];
      if (share === 0) continue;
      // Red and blue in one multiplication, green in another: there is room for eight more bits between them.
      const under = pixels[at];
      const redBlue = (under & 0xff00ff) + ((((colour & 0xff00ff) - (under & 0xff00ff)) * share) >> 8);
      const green = (under & 0xff00) + ((((colour & 0xff00) - (under & 0xff00)) * share) >> 8);
      pixels[at] = 0xff000000 | (redBlue & 0xff00ff) | (green & 0xff00);
    }
  }
}
