// OKLCH to sRGB and the contrast of two colours, after the CSS Color 4 and WCAG 2 definitions.

/** @typedef {{ l: number, c: number, h: number }} Lch */

/** Linear sRGB of an OKLCH colour; parts can lie outside 0 to 1.
 * @param {Lch} colour @returns {[number, number, number]} */
function linear({ l, c, h }) {
  const angle = (h * Math.PI) / 180;
  const a = c * Math.cos(angle);
  const b = c * Math.sin(angle);
  const long = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short,
  ];
}

/** @param {number} value */
const encode = (value) => (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055);

/** The nearest hexadecimal sRGB: keeps lightness and hue and gives up chroma until it fits.
 * @param {Lch} colour @returns {string} */
export function hex(colour) {
  let { c } = colour;
  let rgb = linear(colour);
  while (c > 0 && rgb.some((part) => part < -0.0005 || part > 1.0005)) {
    c = Math.max(0, c - 0.002);
    rgb = linear({ ...colour, c });
  }
  const digits = rgb.map((part) =>
    Math.round(Math.min(1, Math.max(0, encode(Math.min(1, Math.max(0, part))))) * 255)
      .toString(16)
      .padStart(2, '0'),
  );
  return `#${digits.join('')}`;
}

/** Relative luminance of `#rrggbb`.
 * @param {string} colour */
function luminance(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return (
    0.2126 * /** @type {number} */ (r) +
    0.7152 * /** @type {number} */ (g) +
    0.0722 * /** @type {number} */ (b)
  );
}

/** Contrast ratio of two `#rrggbb` colours, 1 to 21.
 * @param {string} one @param {string} other */
export function contrast(one, other) {
  const [a, b] = [luminance(one), luminance(other)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
