// Lets a test import the page's TypeScript: each file is stripped of its types when it is loaded.
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
