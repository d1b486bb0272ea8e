// All addresses. A screen is a chunk of its own, read when it is opened.
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router';
import { basePath } from '../api';
import { NotFound } from '../parts';
import { Root } from '../frame/Root';
import { Shell } from '../frame/Shell';
import { auditSearch, flagSearch, flagsSearch, overviewSearch } from './search';

const root = createRootRoute({ component: Root, notFoundComponent: NotFound });
const home = createRoute({ getParentRoute: () => root, path: '/', component: lazyRouteComponent(() => import('./home'), 'Home') });
const place = createRoute({ getParentRoute: () => root, path: '/$project/$environment', component: Shell, notFoundComponent: NotFound });

/** A screen of an environment. */
const screen = <P extends string>(path: P, component: ReturnType<typeof lazyRouteComponent>) => createRoute({ getParentRoute: () => place, path, component });

const overview = createRoute({ getParentRoute: () => place, path: '/', validateSearch: overviewSearch, component: lazyRouteComponent(() => import('./overview'), 'Overview') });
const flags = createRoute({ getParentRoute: () => place, path: '/flags', validateSearch: flagsSearch, component: lazyRouteComponent(() => import('./flags'), 'Flags') });
const flag = createRoute({ getParentRoute: () => place, path: '/flags/$flag', validateSearch: flagSearch, component: lazyRouteComponent(() => import('./flag'), 'Flag') });
const fuse = screen('/flags/$flag/fuse', lazyRouteComponent(() => import('./fuse'), 'Fuse'));
const trip = screen('/flags/$flag/fuse/trips/$trip', lazyRouteComponent(() => import('./trip'), 'Trip'));
const fuses = screen('/fuses', lazyRouteComponent(() => import('./fuses'), 'Fuses'));
const propagation = screen('/propagation', lazyRouteComponent(() => import('./propagation'), 'Propagation'));
const change = screen('/changes/$version', lazyRouteComponent(() => import('./change'), 'ChangeScreen'));
const events = screen('/events', lazyRouteComponent(() => import('./events'), 'Events'));
const slos = screen('/slos', lazyRouteComponent(() => import('./slos'), 'Slos'));
const audit = createRoute({ getParentRoute: () => place, path: '/audit', validateSearch: auditSearch, component: lazyRouteComponent(() => import('./audit'), 'Audit') });
const settings = screen('/settings/$tab', lazyRouteComponent(() => import('./settings'), 'Settings'));

const tree = root.addChildren([
  home,
  place.addChildren([overview, flags, flag, fuse, trip, fuses, propagation, change, events, slos, audit, settings]),
]);

export const router = createRouter({ routeTree: tree, basepath: basePath(), defaultPreload: 'intent', scrollRestoration: true });

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
