// Serves the built pages with a scenario, to look at them by hand: node tests/fake/serve.mjs running [native|desktop]
import { startFake } from './server.mjs';

const [scenario = 'running', app = 'native'] = process.argv.slice(2);
const fake = await startFake({
  scenario: /** @type {import('./server.mjs').Scenario} */ (scenario),
  app: app === 'desktop' ? 'desktop' : 'native',
  port: Number(process.env['PORT'] ?? 0),
});
console.log(`${app}, ${scenario}: ${fake.url}`);
