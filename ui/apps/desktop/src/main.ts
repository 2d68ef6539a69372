import '@alcove/kit/tokens.css';
import '@alcove/kit/base.css';
import './desktop.css';
import { setLanguage } from '@alcove/i18n';
import { mount } from 'svelte';
import Desktop from './Desktop.svelte';

setLanguage(null);
const target = document.getElementById('app');
if (target) mount(Desktop, { target });
