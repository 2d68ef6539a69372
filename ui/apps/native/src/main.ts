import '@alcove/kit/tokens.css';
import '@alcove/kit/base.css';
import { loadPlatform } from '@alcove/platform';
import { mount } from 'svelte';
import { app } from './app.svelte';
import App from './App.svelte';

const target = document.getElementById('app');
if (target) {
  const platform = await loadPlatform();
  app.start(platform);
  mount(App, { target });
  await platform.ready();
}
