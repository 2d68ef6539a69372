// Writes src/tokens.css.
import { writeFileSync } from 'node:fs';
import { css } from './tokens.mjs';

writeFileSync(new URL('../src/tokens.css', import.meta.url), css());
