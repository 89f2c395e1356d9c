// What lies over the dots of a scatter: disks at the class means, lines, markers, the ring around the hovered dot, the lasso.
// Everything is given in CSS pixels; `colours` are CSS colours {ink, background, focus, classes: [without, with, only]}.

const LABEL_FONT = "600 13px";
const DISK = 10;

/** Draws all of it on a 2D context: {width, height, font, colours, disks, lines, markers, hovered, lasso}. */
export function drawOverlay(context, scene) {
  context.clearRect(0, 0, scene.width, scene.height);
  context.lineJoin = context.lineCap = "round";
  for (const line of scene.lines) drawLine(context, scene.colours, line);
  for (const disk of scene.disks) drawDisk(context, scene, disk);
  if (scene.hovered) drawHovered(context, scene.colours, scene.hovered);
  for (const marker of scene.markers) drawMarker(context, scene, marker);
  drawLabels(context, scene);
  if (scene.lasso.length > 1) drawLasso(context, scene.colours, scene.lasso);
}

function drawDisk(context, scene, disk) {
  context.beginPath();
  context.arc(disk.x, disk.y, DISK + 2.5, 0, 2 * Math.PI);
  context.fillStyle = "#ffffff";
  context.fill();
  context.lineWidth = 1;
  context.strokeStyle = "rgb(0 0 0 / 35%)";
  context.stroke();
  context.beginPath();
  context.arc(disk.x, disk.y, DISK, 0, 2 * Math.PI);
  context.fillStyle = scene.colours.classes[disk.class];
  context.fill();
}

const LABEL_HEIGHT = 18;
const BESIDE = { right: [1, 0], left: [-1, 0], above: [0, -1], below: [0, 1] };
const SIDES = Object.keys(BESIDE);
const LEFT_SIDES = ["left", "above", "below", "right"];
const RIGHT_SIDES = ["right", "below", "above", "left"];
const SWATCH = 14; // px for the dot before the label of a disk: where two disks lie close, it tells which is whose

/** Write every label beside its marker or disk, where it lies on no other; the first of MARKERS choose first, and the disks last. */
function drawLabels(context, scene) {
  context.font = `${LABEL_FONT} ${scene.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const kinds = Object.keys(MARKERS);
  const ordered = [...scene.markers].sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
  // Of two disks the left one's label stands on the left, so that neither seems to belong to the other.
  const leftmost = scene.disks.length > 1 ? Math.min(...scene.disks.map((disk) => disk.x)) : -Infinity;
  const places = [
    ...ordered.map((marker) => ({ ...marker, reach: shapeOf(marker).reach, sides: SIDES, optional: shapeOf(marker).optional })),
    ...scene.disks.map((disk) => ({ ...disk, reach: DISK, sides: disk.x === leftmost ? LEFT_SIDES : RIGHT_SIDES, swatch: scene.colours.classes[disk.class] })),
  ];
  const taken = places.map(({ x, y, reach }) => ({ x, y, width: 2 * reach, height: 2 * reach }));
  for (const place of places.filter(({ label }) => label)) {
    const boxes = place.sides.map((side) => labelBox(context, place, BESIDE[side])).filter((box) => isInside(box, scene));
    const free = boxes.find((box) => !taken.some((other) => overlap(box, other)));
    const box = free ?? (place.optional ? undefined : boxes[0]);
    if (box === undefined) continue;
    taken.push(box);
    writeLabel(context, scene.colours, place, box);
  }
}

/** Where a label would be: its middle and its size. */
function labelBox(context, { x, y, reach, label, swatch }, [right, down]) {
  const width = context.measureText(label).width + (swatch ? SWATCH : 0);
  return { x: x + right * (reach + 7 + width / 2), y: y + down * (reach + 4 + LABEL_HEIGHT / 2), width, height: LABEL_HEIGHT };
}

function isInside(box, { width, height }) {
  const [across, down] = [box.width / 2 + 4, box.height / 2];
  return box.x >= across && box.x <= width - across && box.y >= down && box.y <= height - down;
}

function overlap(a, b) {
  return Math.abs(a.x - b.x) < (a.width + b.width) / 2 && Math.abs(a.y - b.y) < (a.height + b.height) / 2;
}

function writeLabel(context, colours, { label, swatch }, { x, y, width }) {
  const middle = x + (swatch ? SWATCH / 2 : 0);
  context.lineWidth = 4;
  context.strokeStyle = colours.background;
  context.strokeText(label, middle, y);
  context.fillStyle = colours.ink;
  context.fillText(label, middle, y);
  if (!swatch) return;
  context.beginPath();
  context.arc(x - width / 2 + 5, y, 5, 0, 2 * Math.PI);
  context.stroke();
  context.fillStyle = swatch;
  context.fill();
}

/** Draw a path twice: wide in the colour of the background, and over it in ink, so that it shows on dots of any colour. */
function outlined(context, colours, width, path, { filled = false, dashes = [] } = {}) {
  context.beginPath();
  path();
  context.strokeStyle = colours.background;
  context.lineWidth = width + 4;
  context.stroke();
  if (filled) {
    context.fillStyle = colours.ink;
    context.fill();
  }
  context.setLineDash(dashes);
  context.strokeStyle = colours.ink;
  context.lineWidth = width;
  context.stroke();
  context.setLineDash([]);
}

/** A line from one marker to another, which ends at their rims. */
function drawLine(context, colours, { from, to }) {
  const long = Math.hypot(to.x - from.x, to.y - from.y);
  if (long < 26) return;
  const between = (distance) => [from.x + ((to.x - from.x) * distance) / long, from.y + ((to.y - from.y) * distance) / long];
  const path = () => {
    context.moveTo(...between(14));
    context.lineTo(...between(long - 10));
  };
  outlined(context, colours, 1.5, path, { dashes: [5, 5] });
}

function drawHovered(context, colours, { x, y, radius, colour }) {
  outlined(context, colours, 2, () => context.arc(x, y, radius + 4, 0, 2 * Math.PI));
  context.beginPath();
  context.arc(x, y, Math.max(radius, 2.5), 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}

/** How each kind looks, and whether its label may be left out for want of room; in the order in which labels are placed. */
const MARKERS = {
  picked: { width: 3, filled: false, reach: 9, path: circle },
  photo: { width: 1.5, filled: true, reach: 9, path: diamond },
  second: { width: 3, filled: false, reach: 8, path: (context, x, y) => context.rect(x - 8, y - 8, 16, 16) },
  morph: { width: 1.5, filled: true, reach: 6, path: circle, optional: true },
  neighbour: { width: 1.75, filled: false, reach: 6, path: circle, optional: true },
};

function shapeOf({ kind }) {
  return MARKERS[kind] ?? MARKERS.neighbour;
}

function circle(context, x, y, reach) {
  context.moveTo(x + reach, y);
  context.arc(x, y, reach, 0, 2 * Math.PI);
}

function diamond(context, x, y, reach) {
  context.moveTo(x, y - reach);
  for (const [dx, dy] of [[reach, 0], [0, reach], [-reach, 0]]) context.lineTo(x + dx, y + dy);
  context.closePath();
}

function drawMarker(context, scene, marker) {
  const shape = shapeOf(marker);
  outlined(context, scene.colours, shape.width, () => shape.path(context, marker.x, marker.y, shape.reach), shape);
}

function drawLasso(context, colours, corners) {
  const path = () => corners.forEach(([x, y]) => context.lineTo(x, y));
  context.beginPath();
  path();
  context.closePath();
  context.globalAlpha = 0.12;
  context.fillStyle = colours.focus;
  context.fill();
  context.globalAlpha = 1;
  outlined(context, { ...colours, ink: colours.focus }, 1.75, path);
}
