// The screens of an environment: for the navigation, the palette and the shortcuts alike.
import { Activity, FlagTriangleRight, Gauge, LayoutDashboard, Radio, ScrollText, Settings, Zap } from 'lucide-react';

/** `key` is pressed after `g`; `holds` are the routes below an environment that belong to it. */
export const SCREENS = [
  { label: 'Overview', to: '/$project/$environment', key: 'o', icon: LayoutDashboard, holds: ['/'] },
  { label: 'Flags', to: '/$project/$environment/flags', key: 'f', icon: FlagTriangleRight, holds: ['/flags', '/flags/$flag'] },
  { label: 'Fuses', to: '/$project/$environment/fuses', key: 'u', icon: Zap, holds: ['/fuses', '/flags/$flag/fuse', '/flags/$flag/fuse/trips/$trip'] },
  { label: 'Propagation', to: '/$project/$environment/propagation', key: 'p', icon: Radio, holds: ['/propagation', '/changes/$version'] },
  { label: 'Events', to: '/$project/$environment/events', key: 'e', icon: Activity, holds: ['/events'] },
  { label: 'SLOs', to: '/$project/$environment/slos', key: 's', icon: Gauge, holds: ['/slos'] },
  { label: 'Audit', to: '/$project/$environment/audit', key: 'a', icon: ScrollText, holds: ['/audit'] },
  { label: 'Settings', to: '/$project/$environment/settings/$tab', key: ',', icon: Settings, holds: ['/settings/$tab'] },
] as const;
