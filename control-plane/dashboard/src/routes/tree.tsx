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

const within = () => place;
const overview = createRoute({
  getParentRoute: within,
  path: '/',
  validateSearch: overviewSearch,
  component: lazyRouteComponent(() => import('./overview'), 'Overview'),
});
const flags = createRoute({
  getParentRoute: within,
  path: '/flags',
  validateSearch: flagsSearch,
  component: lazyRouteComponent(() => import('./flags'), 'Flags'),
});
const flag = createRoute({
  getParentRoute: within,
  path: '/flags/$flag',
  validateSearch: flagSearch,
  component: lazyRouteComponent(() => import('./flag'), 'Flag'),
});
const fuse = createRoute({ getParentRoute: within, path: '/flags/$flag/fuse', component: lazyRouteComponent(() => import('./fuse'), 'Fuse') });
const trip = createRoute({ getParentRoute: within, path: '/flags/$flag/fuse/trips/$trip', component: lazyRouteComponent(() => import('./trip'), 'Trip') });
const fuses = createRoute({ getParentRoute: within, path: '/fuses', component: lazyRouteComponent(() => import('./fuses'), 'Fuses') });
const propagation = createRoute({
  getParentRoute: within,
  path: '/propagation',
  component: lazyRouteComponent(() => import('./propagation'), 'Propagation'),
});
const change = createRoute({ getParentRoute: within, path: '/changes/$version', component: lazyRouteComponent(() => import('./change'), 'ChangeScreen') });
const events = createRoute({ getParentRoute: within, path: '/events', component: lazyRouteComponent(() => import('./events'), 'Events') });
const slos = createRoute({ getParentRoute: within, path: '/slos', component: lazyRouteComponent(() => import('./slos'), 'Slos') });
const audit = createRoute({
  getParentRoute: within,
  path: '/audit',
  validateSearch: auditSearch,
  component: lazyRouteComponent(() => import('./audit'), 'Audit'),
});
const settings = createRoute({
  getParentRoute: within,
  path: '/settings/$tab',
  component: lazyRouteComponent(() => import('./settings'), 'Settings'),
});

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
