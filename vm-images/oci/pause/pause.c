/* The process of a pod's sandbox: it holds the pod's namespaces, reaps
 * orphans of a shared process namespace, and ends when asked to. */
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
	sigset_t wanted;
	int got;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wanted, 0);
	for (;;) {
		/* Children may have ended before the signals were blocked. */
		while (waitpid(-1, 0, WNOHANG) > 0) {
		}
		if (sigwait(&wanted, &got) != 0) {
			return 1;
		}
		if (got != SIGCHLD) {
			return 0;
		}
	}
}
