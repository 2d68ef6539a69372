import '@alcove/kit/tokens.css';
import '@alcove/kit/base.css';
import './desktop.css';
import { mount } from 'svelte';
import Desktop from './Desktop.svelte';
import { keptLook, show } from './look';

// As it was the last time, until it is known anew.
show(keptLook());
const target = document.getElementById('app');
if (target) mount(Desktop, { target });
