// Around every screen: nobody signed in → the sign-in page; a session that ends → sign in again over what is there.
import { Center, Loader, Modal, Stack } from '@mantine/core';
import { Outlet } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import { LiveProvider, useLive } from '../live/live';
import { ProblemNote } from '../parts';
import { useSession } from '../session/session';
import { SignIn } from './SignIn';

export function Root() {
  const { who, isLost, code, problem, lose } = useSession();

  if (code !== null || (who === null && isLost)) return <SignIn code={code} />;
  if (who === null) {
    const shown = problem === null ? <Loader aria-label="Loading" /> : <Stack maw={520}><ProblemNote problem={problem} /></Stack>;
    return <Center mih="60vh" p="md">{shown}</Center>;
  }
  return (
    <LiveProvider onSignedOut={lose}>
      <Outlet />
      <Again isLost={isLost} />
    </LiveProvider>
  );
}

/** The page below stays as it is, drafts and all. */
function Again({ isLost }: { isLost: boolean }) {
  const { restart } = useLive();
  const was = useRef(false);
  useEffect(() => {
    if (was.current && !isLost) restart();
    was.current = isLost;
  }, [isLost, restart]);
  return (
    <Modal opened={isLost} onClose={() => undefined} withCloseButton={false} closeOnEscape={false} closeOnClickOutside={false} title="You are signed out" centered>
      <SignIn code={null} isAgain />
    </Modal>
  );
}
