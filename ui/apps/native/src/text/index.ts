import { translator } from '@alcove/i18n';
import { en } from './en';
import { zh } from './zh';

export const { t, tn, maybe } = translator(en, zh);
