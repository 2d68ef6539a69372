package storage

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func claim(mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	class := "local-path"
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "data", UID: "u1",
			Annotations: map[string]string{annotationWho: Provisioner, annotationNode: "one"},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func TestProvisionAndRemove(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "storage")
	client := fake.NewClientset(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local-path"}, Provisioner: Provisioner})
	local := &Local{Node: "one", Folder: folder, Client: client, Creates: true, Report: func(err error) { t.Error(err) }}
	ctx := context.Background()
	wanted := claim(corev1.ReadWriteOnce)
	if !wants(wanted) {
		t.Fatal("the claim is not seen")
	}
	for range 2 { // the second time changes nothing
		if err := local.provision(ctx, wanted); err != nil {
			t.Fatal(err)
		}
	}
	volume, err := client.CoreV1().PersistentVolumes().Get(ctx, "pvc-u1", metav1.GetOptions{})
	if err != nil || ownerNode(volume) != "one" {
		t.Fatal(volume, err)
	}
	path := filepath.Join(folder, "pvc-u1_default_data")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatal(info, err)
	}
	if local.finished(volume) {
		t.Fatal("a volume in use would be removed")
	}
	volume.Status.Phase = corev1.VolumeReleased
	if !local.finished(volume) {
		t.Fatal("a released volume would stay")
	}
	if err := local.remove(ctx, volume); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatal("the folder is still there", err)
	}
}

func TestAForeignPathIsLeftAlone(t *testing.T) {
	folder, other := t.TempDir(), t.TempDir()
	local := &Local{Node: "one", Folder: folder, Client: fake.NewClientset()}
	for _, path := range []string{other, folder, filepath.Join(folder, "pvc-u1_a_b", "..", "..", filepath.Base(other))} {
		volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-u1"}, Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}},
		}}
		if err := local.remove(context.Background(), volume); err == nil {
			t.Errorf("%s would be deleted", path)
		}
	}
	if _, err := os.Stat(other); err != nil {
		t.Fatal(err)
	}
}

func TestSharedModesAreRefused(t *testing.T) {
	client := fake.NewClientset(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local-path"}, Provisioner: Provisioner})
	local := &Local{Node: "one", Folder: t.TempDir(), Client: client}
	if err := local.provision(context.Background(), claim(corev1.ReadWriteMany)); err == nil {
		t.Fatal("ReadWriteMany was promised")
	}
}
