// Package storage provisions local-path volumes: folders on the node's own
// disk, on Btrfs each a subvolume, so that it can be snapshotted and measured
// by itself.
package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"golang.org/x/sys/unix"

	"alcove/kubernetes/internal/bell"
)

// Names that claims and volumes carry.
const (
	Provisioner        = "rancher.io/local-path"
	finalizer          = "alcove.local/local-path"
	annotationNode     = "volume.kubernetes.io/selected-node"
	annotationBy       = "pv.kubernetes.io/provisioned-by"
	annotationWho      = "volume.kubernetes.io/storage-provisioner"
	annotationWhoOlder = "volume.beta.kubernetes.io/storage-provisioner"
	retry              = 10 * time.Second
)

// Local provisions the volumes of one node.
type Local struct {
	Node   string
	Folder string
	Client kubernetes.Interface
	// Creates says that this process makes the volumes of every node, which
	// only the server does; the others clean up after their own.
	Creates bool
	Report  func(error)
}

// Run follows claims and volumes until the context ends.
func (l *Local) Run(ctx context.Context, factory informers.SharedInformerFactory) error {
	volumes := factory.Core().V1().PersistentVolumes()
	changed := bell.New()
	if _, err := volumes.Informer().AddEventHandler(changed.Changes()); err != nil {
		return err
	}
	synced := []cache.InformerSynced{volumes.Informer().HasSynced}
	claims := factory.Core().V1().PersistentVolumeClaims()
	if l.Creates {
		if _, err := claims.Informer().AddEventHandler(changed.Changes()); err != nil {
			return err
		}
		synced = append(synced, claims.Informer().HasSynced)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	changed.Ring()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		again := false
		attempt := func(err error) {
			if err != nil && ctx.Err() == nil {
				l.Report(err)
				again = true
			}
		}
		if l.Creates {
			all, err := claims.Lister().List(labels.Everything())
			attempt(err)
			for _, claim := range all {
				if wants(claim) {
					attempt(l.provision(ctx, claim))
				}
			}
		}
		all, err := volumes.Lister().List(labels.Everything())
		attempt(err)
		for _, volume := range all {
			if l.finished(volume) {
				attempt(l.remove(ctx, volume))
			}
		}
		if again {
			changed.RingAfter(retry)
		}
	}
}

// wants says whether a claim waits for us.
func wants(claim *corev1.PersistentVolumeClaim) bool {
	by := claim.Annotations[annotationWho]
	if by == "" {
		by = claim.Annotations[annotationWhoOlder]
	}
	return by == Provisioner && claim.Annotations[annotationNode] != "" && claim.Spec.VolumeName == "" &&
		claim.DeletionTimestamp == nil && claim.Status.Phase != corev1.ClaimBound
}

func (l *Local) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := l.Client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("storage class of %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	for _, mode := range claim.Spec.AccessModes {
		if mode == corev1.ReadWriteMany || mode == corev1.ReadOnlyMany {
			return fmt.Errorf("claim %s/%s: a local volume belongs to one node, so its access mode can only be ReadWriteOnce or ReadWriteOncePod", claim.Namespace, claim.Name)
		}
	}
	if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock {
		return fmt.Errorf("claim %s/%s: a local volume is a file system, not a block device", claim.Namespace, claim.Name)
	}
	node := claim.Annotations[annotationNode]
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(l.Folder, fmt.Sprintf("%s_%s_%s", name, claim.Namespace, claim.Name))
	if node == l.Node {
		if err := makeFolder(ctx, path); err != nil {
			return fmt.Errorf("folder of %s/%s: %w", claim.Namespace, claim.Name, err)
		}
	}
	reclaim := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	kind := corev1.HostPathDirectoryOrCreate
	mode := corev1.PersistentVolumeFilesystem
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{annotationBy: Provisioner}, Finalizers: []string{finalizer},
		},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: reclaim,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    &mode,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			StorageClassName:              class.Name,
			MountOptions:                  class.MountOptions,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}},
			ClaimRef: &corev1.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
	_, err = l.Client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("volume for %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

// finished says whether a volume of this node has lost its claim for good.
func (l *Local) finished(volume *corev1.PersistentVolume) bool {
	if volume.Annotations[annotationBy] != Provisioner || volume.Spec.HostPath == nil || ownerNode(volume) != l.Node {
		return false
	}
	if volume.DeletionTimestamp != nil {
		return hasFinalizer(volume)
	}
	return volume.Status.Phase == corev1.VolumeReleased && volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
}

func ownerNode(volume *corev1.PersistentVolume) string {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return ""
	}
	for _, term := range volume.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, expression := range term.MatchExpressions {
			if expression.Key == corev1.LabelHostname && len(expression.Values) == 1 {
				return expression.Values[0]
			}
		}
	}
	return ""
}

func hasFinalizer(volume *corev1.PersistentVolume) bool {
	for _, name := range volume.Finalizers {
		if name == finalizer {
			return true
		}
	}
	return false
}

// remove deletes the folder when its content is to go, then the volume.
func (l *Local) remove(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		path := filepath.Clean(volume.Spec.HostPath.Path)
		// Only what lies directly in our folder and carries the volume's name
		// is ours to delete.
		if filepath.Dir(path) != filepath.Clean(l.Folder) || !strings.HasPrefix(filepath.Base(path), volume.Name+"_") {
			return fmt.Errorf("volume %s names %s, which is not a folder of the provisioner: it is left alone", volume.Name, path)
		}
		if err := removeFolder(ctx, path); err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
	}
	volumes := l.Client.CoreV1().PersistentVolumes()
	if hasFinalizer(volume) {
		copied := volume.DeepCopy()
		copied.Finalizers = nil
		for _, name := range volume.Finalizers {
			if name != finalizer {
				copied.Finalizers = append(copied.Finalizers, name)
			}
		}
		if _, err := volumes.Update(ctx, copied, metav1.UpdateOptions{}); err != nil {
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
				return nil
			}
			return err
		}
	}
	err := volumes.Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func onBtrfs(path string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && stat.Type == unix.BTRFS_SUPER_MAGIC
}

func makeFolder(ctx context.Context, path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return os.Chmod(path, 0o777)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	if onBtrfs(filepath.Dir(path)) {
		if output, err := exec.CommandContext(ctx, "btrfs", "subvolume", "create", path).CombinedOutput(); err == nil {
			return os.Chmod(path, 0o777)
		} else if !errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("btrfs: %w: %s", err, strings.TrimSpace(string(output)))
		}
	}
	if err := os.Mkdir(path, 0o777); err != nil {
		return err
	}
	return os.Chmod(path, 0o777)
}

func removeFolder(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); os.IsNotExist(err) {
		return nil
	}
	if onBtrfs(path) {
		if err := exec.CommandContext(ctx, "btrfs", "subvolume", "delete", path).Run(); err == nil {
			return nil
		}
	}
	return os.RemoveAll(path)
}
