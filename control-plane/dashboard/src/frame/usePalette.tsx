// The palette comes with the first ⌘K: who never presses it never fetches it.
import { lazy, type ReactNode, Suspense, useCallback, useEffect, useState } from 'react';

const Palette = lazy(() => import('./Palette').then(({ Palette }) => ({ default: Palette })));

export function usePalette(): { open: () => void; shown: ReactNode } {
  const [isWanted, setWanted] = useState(false);
  const open = useCallback(() => {
    if (!isWanted) setWanted(true);
    else void import('@mantine/spotlight').then(({ spotlight }) => spotlight.toggle());
  }, [isWanted]);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== 'k' || !(event.metaKey || event.ctrlKey) || event.shiftKey || event.altKey) return;
      event.preventDefault();
      open();
    };
    window.addEventListener('keydown', press);
    return () => window.removeEventListener('keydown', press);
  }, [open]);
  const shown = isWanted ? (
    <Suspense><Palette /></Suspense>
  ) : null;
  return { open, shown };
}
